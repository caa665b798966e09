"""The DAG on a small study: what comes out, and what a change makes it do again."""

import csv
import json
import os
import re
import shutil
import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml

from powerblend.infrastructure.progress import at_work
from small_study import ROOT, merged, planned, problems, snakemake, write_study

CONDITIONS = ["greedy", "temp", "ps", "blend_greedy", "blend_ps", "draft_blend_ps"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The configuration of a small study that has run."""
    folder = tmp_path_factory.mktemp("study")
    (folder / "train.jsonl").write_text("".join(json.dumps(p) + "\n" for p in problems(15)[6:]))
    study = write_whole(folder)
    snakemake(study)
    return study


def write_whole(folder: Path, **changes: Any) -> Path:
    """Write the study that has run, or one that differs from it: every condition, one shard."""
    training = {"problems": str(folder / "train.jsonl"), "mask_token": "~", "max_new_tokens": 8}
    training |= {"steps": 3, "batch": 4, "block": 4, "layers": 1}
    settings: dict[str, Any] = {
        "use": CONDITIONS,
        "shards": {"of": 2, "use": [1]},
        "training": training,
        "blends": {"draft": {"draft": "trained", "revision": None}},
    }
    return write_study(folder, **merged(settings, changes))


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
        assert len(records) == 3
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
    assert moves["greedy"] == moves["temp"] == moves["blend_greedy"] == [0] * 3
    assert moves["ps"] == moves["blend_ps"] == moves["draft_blend_ps"] == [4] * 3


def test_the_draft_is_trained_once_and_named_in_the_report(finished: Path) -> None:
    (draft,) = (finished.parent / "results" / "small" / "draft").iterdir()
    training = json.loads((draft / "training.json").read_text())
    assert (training["answers"], training["held_out"], len(training["losses"])) == (8, 1, 3)
    report = (finished.parent / "report" / "small.md").read_text()
    assert "so the study trained one" in report


def test_a_finished_study_plans_nothing(finished: Path) -> None:
    assert planned(finished) == {}


def test_every_log_of_a_finished_study_says_that_its_job_has_ended(finished: Path) -> None:
    logs = finished.parent / "results" / "small" / "logs"
    assert (logs / "shard-1-of-2.log").exists()
    assert at_work([logs], 0) == ""


def test_snakemakes_own_report_has_captions_labels_and_tables(finished: Path) -> None:
    snakemake(finished, "--report", "whole.zip")
    with zipfile.ZipFile(finished.parent / "whole.zip") as archive:
        packed = {Path(name).name for name in archive.namelist()}
        page = archive.read("whole/report.html").decode()
    shown = {
        name: json.loads(re.findall(rf"^    var {name} = ({{.*}});?$", page, re.MULTILINE)[0])
        for name in ("results", "categories")
    }
    assert packed >= {Path(name).name for name in shown["results"]}
    for name, result in shown["results"].items():
        assert result["caption"], name
        assert result["labels"], name
    assert shown["categories"].keys() == {"Tables", "Figures", "Report"}
    assert "results/small/tables/overall.csv" in shown["categories"]["Tables"]["Conditions"]
    assert "report/small/accuracy.png" in shown["categories"]["Figures"]["Answers"]
    assert "Power sampling draws an answer from" in page  # the description of the workflow


def test_more_samples_and_shards_continue_the_same_cells_and_going_back_is_free(
    finished: Path, tmp_path: Path
) -> None:
    """With the results of the study that has run; both shards in one job, then in two."""
    shutil.copytree(finished.parent / "results", tmp_path / "results")
    (store,) = tmp_path.glob("results/small/chains/ps-*")
    (name,) = [path.name for path in store.glob("*.jsonl")]
    before = (store / name).read_text()
    more = {"use": ["ps"], "samples": 2, "shards": {"use": [0, 1], "per_job": 2}}
    study = tmp_path / "study.yaml"
    study.write_text(yaml.safe_dump(merged(yaml.safe_load(finished.read_text()), more)))
    snakemake(study, "--until", "tables")
    assert (store / name).read_text().startswith(before)
    assert [len(path.read_text().splitlines()) for path in store.glob("*.jsonl")] == [6, 6]
    (overall,) = csv.DictReader((tmp_path / "results/small/tables/overall.csv").open())
    assert (overall["condition"], overall["total"]) == ("ps", "12")

    study.write_text(study.read_text().replace("per_job: 2", "per_job: 1"))
    assert not {"generate", "generate_2", "grade"} & planned(study).keys()

    study.write_text(finished.read_text())
    assert planned(study).keys() == {"tables", "figures", "report", "answers", "all"}


def test_weights_of_a_trained_draft_are_for_all_to_read(finished: Path) -> None:
    (weights,) = finished.parent.glob("results/small/draft/*/model.safetensors")
    assert weights.stat().st_mode & 0o777 == 0o666 & ~current_umask()


def current_umask() -> int:
    mask = os.umask(0o022)
    os.umask(mask)
    return mask


@pytest.mark.parametrize("name", ["cpu", "gpu"])
def test_a_conda_environment_needs_no_other_file(name: str) -> None:
    """Snakemake copies it to where the lock file is not."""
    parsed = yaml.safe_load((ROOT / "envs" / f"{name}.yaml").read_text())
    lock = (ROOT / "envs" / "cpu.lock").read_text().splitlines()
    pins = [line for line in lock if line and not line.startswith("#")]
    assert parsed["dependencies"][-1] == {"pip": pins}


def test_the_real_study_shows_its_whole_dag(tmp_path: Path) -> None:
    text = snakemake(ROOT / "config.yaml", "--dry-run", "--directory", str(tmp_path))
    for stage in ("config", "problems", "check", "tables", "figures", "report", "answers", "all"):
        assert f"\n{stage} " in text
    assert re.search(r"\ngenerate +56\n", text)  # seven conditions on eight shards


def test_a_change_is_seen_without_snakemakes_own_records(finished: Path, tmp_path: Path) -> None:
    """As in a fresh clone with the results: a stale configuration would give a stale report."""
    own = (finished.parent / ".snakemake").rename(tmp_path / "own")
    write_whole(finished.parent, contrasts=["ps - temp"])
    try:
        assert {"config", "tables", "report"} <= set(planned(finished))
    finally:
        write_whole(finished.parent)
        shutil.rmtree(finished.parent / ".snakemake", ignore_errors=True)
        own.rename(finished.parent / ".snakemake")


def test_a_job_of_a_configuration_that_was_edited_is_refused_in_words(finished: Path) -> None:
    """A cluster's job reads the configuration anew, which may no longer have its cell."""
    path = "results/small/generate/greedy-0123456789/shard-0-of-2x1.jsonl"
    output = snakemake(finished, "--dry-run", "--", path, check=False)
    assert "no condition makes greedy-0123456789: the configuration was edited while" in output
