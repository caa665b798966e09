"""The DAG on a small study: what comes out, and what a change makes it do again."""

import json
import re
import shutil
from pathlib import Path

import pytest

from small_study import ROOT, planned, problems, snakemake, write_study

CONDITIONS = ["greedy", "temp", "ps", "blend_greedy", "blend_ps", "draft_blend_ps"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The configuration of a small study that has run."""
    folder = tmp_path_factory.mktemp("study")
    (folder / "train.jsonl").write_text("".join(json.dumps(p) + "\n" for p in problems(15)[6:]))
    training = {"problems": str(folder / "train.jsonl"), "mask_token": "~", "max_new_tokens": 8}
    training |= {"steps": 3, "batch": 4, "block": 4, "layers": 1}
    study = write_study(
        folder,
        use=CONDITIONS,
        training=training,
        blends={"draft": {"draft": "trained", "revision": None}},
    )
    snakemake(study)
    return study


def test_a_study_ends_in_a_report_with_every_condition(finished: Path) -> None:
    report = (finished.parent / "report" / "small.md").read_text()
    for condition in CONDITIONS:
        assert f"| `{condition}` | " in report
    assert (finished.parent / "report" / "small" / "accuracy.png").stat().st_size > 10_000
    assert (finished.parent / "report" / "small" / "accuracy.svg").exists()


def test_records_hold_what_they_should(finished: Path) -> None:
    results = finished.parent / "results" / "small"
    for cell in (results / "generate").iterdir():
        records = [json.loads(line) for f in sorted(cell.iterdir()) for line in f.open()]
        assert len(records) == 6
        for record in records:
            assert record["study"] == "small"
            assert record["condition"] == cell.name.split("-")[0]
            assert record["n_tokens"] == len(record["tokens"]) <= 8
            assert (record["finish"] == "eos") == (record["tokens"][-1] == 1)
            assert len(record["key"]) == 64
            assert record["decoded_tokens"] >= record["n_tokens"]


def test_every_sampler_did_what_its_condition_says(finished: Path) -> None:
    results = finished.parent / "results" / "small" / "generate"
    moves = {
        cell.name.split("-")[0]: [
            json.loads(line)["moves"] for f in sorted(cell.iterdir()) for line in f.open()
        ]
        for cell in results.iterdir()
    }
    assert moves["greedy"] == moves["temp"] == moves["blend_greedy"] == [0] * 6
    assert moves["ps"] == moves["blend_ps"] == moves["draft_blend_ps"] == [4] * 6


def test_the_draft_is_trained_once_and_named_in_the_report(finished: Path) -> None:
    (draft,) = (finished.parent / "results" / "small" / "draft").iterdir()
    training = json.loads((draft / "training.json").read_text())
    assert (training["answers"], training["held_out"], len(training["losses"])) == (8, 1, 3)
    report = (finished.parent / "report" / "small.md").read_text()
    assert "so the study trained one" in report


def test_a_finished_study_plans_nothing(finished: Path) -> None:
    assert planned(finished) == {}


@pytest.mark.parametrize("change", [{"beta": -0.3}, {"layer": 0}])
def test_a_changed_blend_plans_the_blended_conditions_only(
    finished: Path, change: dict[str, float]
) -> None:
    write_study(finished.parent, blends={"layer": change})
    try:
        jobs = planned(finished)["generate"]
        assert len(jobs) == 4
        assert all("blend_" in job for job in jobs)
    finally:
        write_study(finished.parent)
    assert planned(finished) == {}


def test_more_samples_continue_the_same_cells(finished: Path, tmp_path: Path) -> None:
    study = write_study(tmp_path, use=["ps"])
    snakemake(study)
    before = {p: p.read_text() for p in tmp_path.glob("results/small/chains/*/*.jsonl")}
    write_study(tmp_path, use=["ps"], samples=2)
    snakemake(study)
    for path, text in before.items():
        assert path.read_text().startswith(text)
        assert len(path.read_text().splitlines()) == 2 * len(text.splitlines())


def test_a_changed_figure_redraws_without_generating(finished: Path) -> None:
    (finished.parent / "report" / "small" / "accuracy.png").unlink()
    assert set(planned(finished)) == {"figure", "report", "all"}
    snakemake(finished)


def test_the_real_study_shows_its_whole_dag(tmp_path: Path) -> None:
    text = snakemake(ROOT / "config.yaml", "--dry-run", "--directory", str(tmp_path))
    for stage in ("config", "problems", "check", "tables", "figure", "report", "all"):
        assert f"\n{stage} " in text
    assert re.search(r"\ngenerate +48\n", text)  # six conditions on eight shards


def test_a_change_is_seen_without_snakemakes_own_records(finished: Path, tmp_path: Path) -> None:
    """As in a fresh clone with the results: a stale configuration would give a stale report."""
    own = (finished.parent / ".snakemake").rename(tmp_path / "own")
    write_study(finished.parent, contrasts=["ps - temp"])
    try:
        assert {"config", "tables", "report"} <= set(planned(finished))
    finally:
        write_study(finished.parent)
        shutil.rmtree(finished.parent / ".snakemake", ignore_errors=True)
        own.rename(finished.parent / ".snakemake")


def test_a_job_of_a_configuration_that_was_edited_is_refused_in_words(finished: Path) -> None:
    """A cluster's job reads the configuration anew, which may no longer have its cell."""
    path = "results/small/generate/greedy-0123456789/shard-0-of-2x1.jsonl"
    output = snakemake(finished, "--dry-run", "--", path, check=False)
    assert "no condition makes greedy-0123456789: the configuration was edited while" in output
