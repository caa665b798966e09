"""Every study that comes with the project: its whole plan, and its report at toy scale."""

import json
import re
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import yaml

import tiny
from powerblend.graders.mathematics import pool as grader_pool
from powerblend.grading import GraderPool
from powerblend.study.cells import cells_of
from powerblend.study.schema import Study, parse_study
from small_study import ROOT, merged, problems
from toy import Plan, follow, plans

STUDIES = ROOT / "resources" / "studies"
DATA = Path(__file__).parent / "data"
NAMES = sorted(p.stem for p in STUDIES.glob("*.yaml") if "name: embedded/" not in p.read_text())
"""Those of models and problems from the hub."""

# Shards of a study, conditions, and the figures that it is run for.
PROMISES = {
    "aime_2024": (8, 7, {"accuracy", "compute"}),
    "aime_2025": (8, 7, {"accuracy", "compute"}),
    "controls": (8, 20, {"accuracy", "controls"}),
    "gsm8k": (8, 7, {"accuracy", "difficulty", "interaction", "overlap"}),
    "humaneval": (8, 7, {"accuracy", "difficulty", "interaction", "overlap"}),
    "kernels": (8, 9, {"accuracy", "compute"}),
    "math500_full": (40, 7, {"accuracy", "difficulty", "interaction", "overlap", "compute"}),
    "paper": (40, 4, {"accuracy", "compute"}),
    "paper_qwen25_7b": (40, 4, {"accuracy"}),
    "norms": (8, 10, {"accuracy", "difficulty", "diagnostics"}),
    "samples": (8, 5, {"accuracy", "compute"}),
    "sweep": (8, 30, {"accuracy", "sweep"}),
}
TOO_LITTLE = re.compile(r"sweeps neither|No .* to show|no condition|takes two conditions")


def configuration(name: str) -> dict[str, Any]:
    files = (ROOT / "config.yaml", STUDIES / f"{name}.yaml")
    base, study = (yaml.safe_load(path.read_text(encoding="utf-8")) for path in files)
    return merged(base, study)


def study(name: str) -> Study:
    return parse_study(configuration(name))


def toy(name: str, model: Path, data: Path) -> dict[str, Any]:
    """What is merged over a study to make it small: all but its conditions and its grading.

    Conditions with a draft are left out: a tiny model has none.
    """
    settings = configuration(name)
    changes: dict[str, Any] = {
        "model": {"name": str(model), "revision": None, "dtype": "float64"},
        "dataset": {"name": str(data), "revision": None},
        "shards": {"of": 1, "use": [0]},
        "decoding": {"max_new_tokens": 8, "blocks": 2, "steps": 1},
        "blends": {
            name: {"layer": 1}
            for name, blend in settings["blends"].items()
            if blend["source"] == "layer"
        },
        "use": [name for name in settings["use"] if "draft" not in name],
        "probe": {"problems": 2, "tokens": 50, "layers": [0], "betas": [0.1]},
        "samples": min(settings["samples"], 3),
        "resources": {"rows": 16, "gpu": 0, "threads": 1, "mem_mb": 500},
    }
    # What a condition sets for itself is for longer answers.
    changes["conditions"] = {
        name: {"blocks": 2} for name, how in settings["conditions"].items() if "blocks" in how
    }
    if "sweep" in settings:
        changes["sweep"] = {"over": {"alpha": [2, 4], "blend.beta": [-0.1, 0.05]}}
    return changes


@pytest.fixture(scope="module")
def planned(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, Plan, Plan]]:
    """By study: the directory of its toy, its own plan, and that of its toy."""
    shared = tmp_path_factory.mktemp("shared")
    model = tiny.save(shared / "model", max_position_embeddings=512)
    maths = shared / "problems.jsonl"
    solved = [problem | {"solution": "It is " + problem["answer"]} for problem in problems(3)]
    maths.write_text("".join(json.dumps(problem) + "\n" for problem in solved))
    folders, asked = {}, {}
    for name in NAMES:
        folder = folders[name] = tmp_path_factory.mktemp(name)
        data = DATA / f"{name}.jsonl"
        small = folder / "toy.yaml"
        small.write_text(yaml.safe_dump(toy(name, model, data if data.exists() else maths)))
        own = STUDIES / f"{name}.yaml"
        asked[name] = (shared, [own])
        asked[f"toy {name}"] = (folder, [own, small])
    found = plans(asked)
    return {name: (folders[name], found[name], found[f"toy {name}"]) for name in NAMES}


@pytest.fixture(scope="module")
def pool() -> Iterator[GraderPool]:
    """Grading processes for all studies: starting them takes longer than a toy study."""
    with GraderPool(workers=1) as pool:
        yield pool


def test_every_study_has_its_promises() -> None:
    assert set(NAMES) == set(PROMISES)


@pytest.mark.parametrize("name", NAMES)
def test_the_plan_is_the_whole_study(
    name: str, planned: dict[str, tuple[Path, Plan, Plan]]
) -> None:
    _, plan, _ = planned[name]
    shards, conditions, _ = PROMISES[name]
    jobs = shards * conditions
    assert plan.jobs["generate"] == plan.jobs["grade"] == jobs
    assert plan.jobs["shard"] == shards
    assert plan.jobs["report"] == plan.jobs["tables"] == plan.jobs["problems"] == 1


@pytest.mark.parametrize("name", [name for name in NAMES if name != "paper_qwen25_7b"])
def test_a_toy_of_the_study_has_the_figures_it_promises(
    name: str,
    planned: dict[str, tuple[Path, Plan, Plan]],
    pool: GraderPool,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder, _, plan = planned[name]
    if configuration(name).get("grading", {}).get("grader") == "code":
        request.getfixturevalue("sandboxed")
    monkeypatch.chdir(folder)
    monkeypatch.setattr(grader_pool, "GraderPool", lambda **_: nullcontext(pool))
    follow(plan, PROMISES[name][2])
    report = (folder / "report" / f"{name}.md").read_text(encoding="utf-8")
    for figure in PROMISES[name][2]:
        assert f"({name}/{figure}.png)" in report
        assert (folder / "report" / name / f"{figure}.png").stat().st_size > 10_000
        drawn = (folder / "report" / name / f"{figure}.svg").read_text(encoding="utf-8")
        assert not TOO_LITTLE.search(drawn), figure
    summary = json.loads((folder / "results" / name / "tables" / "summary.json").read_text())
    assert list(summary["conditions"]) == [row["condition"] for row in summary["overall"]]
    CHECKS.get(name, lambda report, summary: None)(report, summary)


def _has_votes(report: str, summary: dict[str, Any]) -> None:
    """A point at every number of samples, for each condition that draws at random."""
    points = {(row["condition"], row["method"], row["k"]) for row in summary["compute"]}
    for condition in ("ps", "temp"):
        assert {(condition, method, 3) for method in ("majority", "best_of")} < points
        assert f"| {condition}, majority of 3 | 3 |" in report
    tokens = {row["label"]: row["decoded_tokens"] for row in summary["compute"]}
    assert tokens["temp, best of 3"] == pytest.approx(3 * tokens["temp"])
    assert not any(condition == "greedy" and k > 1 for condition, _, k in points)


def _has_both_decoders(report: str, summary: dict[str, Any]) -> None:
    swept = {(row["sampler"], row["alpha"], row["beta"]) for row in summary["sweep"]}
    grid = {("power", alpha, beta) for alpha in (2, 4) for beta in (-0.1, 0.05)}
    assert swept == grid | {("greedy", None, beta) for beta in (-0.1, 0.05)}
    for decoder in ("greedy", "power"):
        assert f"- {decoder}, layer 1, norm none: best β: " in report


def _has_both_norms(report: str, summary: dict[str, Any]) -> None:
    blends = {
        name: (how["blend"]["norm"], how["blend"]["beta"])
        for name, how in summary["conditions"].items()
        if "blend" in how
    }
    assert blends["blend_ps"] == blends["blend_greedy"] == ("none", 0.05)
    assert blends["lens_ps"] == blends["lens_greedy"] == ("final", 0.05)
    norm, matched = blends["lens_matched_ps"]
    assert blends["lens_matched_greedy"] == (norm, matched)
    assert norm == "final"
    assert matched not in (0, 0.05)
    # Every blend, the matched one too, is measured on solutions and on the model's own answers.
    assert summary["probe"]["measured"]["over"] == "solutions"
    own = {row["condition"]: row["own"]["kl"] for row in summary["probe"]["conditions"]}
    assert own.keys() == blends.keys()
    assert all(own.values())
    assert "| KL(p ‖ p_guided) | on own answers |" in report


def _has_integers(report: str, summary: dict[str, Any]) -> None:
    assert "read as an integer" in report
    assert "No second opinion was asked for." in report
    assert "The problems have no level." in report
    assert "The problems have no subject." in report


def _has_programs(report: str, summary: dict[str, Any]) -> None:
    assert "must pass the reference's tests, in a sandbox" in report
    assert "No second opinion was asked for." in report


def _has_the_papers_numbers(report: str, summary: dict[str, Any]) -> None:
    assert summary["conditions"]["ps_published"]["mh"] == "published"
    assert "| Karan &amp; Du | Qwen2.5-Math-7B | power sampling | 74.8% | 500 |" in report
    assert "| Power sampling over ordinary sampling (base) | +25.2" in report


def _has_controls(report: str, summary: dict[str, Any]) -> None:
    """Each control has the KL or the scale of the layer, and stands beside it."""
    assert "### 4.16 Controls" in report
    conditions = summary["conditions"]
    for blend in summary["controls"]:
        own = blend["measured"]
        assert blend["plain"] == own["condition"].removeprefix("blend_")
        for control in blend["controls"]:
            measure = control["matched"]
            assert control["measured"][measure] == pytest.approx(own[measure], rel=2e-3)
            assert control["contrast"]["plus"] == [own["condition"]]
    assert [len(blend["controls"]) for blend in summary["controls"]] == [4, 6]
    scale = summary["controls"][0]["measured"]["scale"]
    assert conditions["ps_scale"]["alpha"] == pytest.approx(4 * scale, rel=2e-3)
    assert conditions["ps_kl"]["alpha"] > 4


CHECKS = {
    "controls": _has_controls,
    "aime_2024": _has_integers,
    "aime_2025": _has_integers,
    "gsm8k": _has_integers,
    "humaneval": _has_programs,
    "math500_full": _has_votes,
    "norms": _has_both_norms,
    "paper": _has_the_papers_numbers,
    "samples": _has_votes,
    "sweep": _has_both_decoders,
}


def test_math500_is_run_whole_and_as_the_paper_did() -> None:
    whole = study("math500_full")
    assert whole.shards.indices == list(range(40))
    assert whole.samples == 8
    power = whole.samplers()["blend_ps"]
    assert [power.max_new_tokens, power.blocks, power.steps] == [3072, 16, 10]


def test_the_papers_setting_is_one_for_both_of_its_models() -> None:
    first, second = (configuration(name) for name in ("paper", "paper_qwen25_7b"))
    assert {key for key in first if first[key] != second[key]} == {"study", "title", "model"}
    paper = study("paper")
    assert paper.prompt.style == "plain"
    base, temperature, exact, published = paper.samplers().values()
    assert base.model_dump()["temperature"] == 1.0
    assert temperature.model_dump()["temperature"] == 0.25
    assert (exact.model_dump()["mh"], published.model_dump()["mh"]) == ("exact", "published")
    for name in ("paper", "paper_qwen25_7b"):
        assert re.fullmatch("[0-9a-f]{40}", study(name).model.revision or "")
        for power in list(study(name).samplers().values())[2:]:
            schedule = power.schedule()
            assert (schedule.max_new_tokens, schedule.blocks, schedule.steps) == (3072, 16, 10)


def test_convergence_is_of_both_kernels_by_moves_beside_a_long_run() -> None:
    found = study("convergence")
    assert (found.samples, found.long_run) == (4, "long")
    steps: dict[str, list[int]] = {"exact": [], "published": []}
    for name, how in found.samplers().items():
        if how.name == "power" and name != "long":
            assert how.schedule().blocks == 8
            steps[how.schedule().mh].append(how.schedule().steps)
    assert steps == {"exact": [0, 1, 2, 4, 8, 16], "published": [1, 2, 4, 8, 16]}


def test_the_sweep_is_every_alpha_and_beta_once() -> None:
    swept = study("sweep")
    cells = cells_of(swept)
    assert len({cell.name for cell in cells.values()}) == len(cells) == 30
    settings = [
        (how.sampler, getattr(how, "alpha", None), how.blend.beta if how.blend else 0)
        for how in swept.samplers().values()
    ]
    betas = (-0.1, -0.05, 0.01, 0.05, 0.1, 0.2)
    assert set(settings) == {("greedy", None, beta) for beta in (0, *betas)} | {
        ("power", alpha, beta) for alpha in (2, 4, 8) for beta in (0, *betas)
    } | {("temperature", None, 0)}
    # A cell of the sweep that is a condition of the main study is that study's cell.
    main = cells_of(parse_study(configuration("norms") | {"use": ["blend_ps"]}))
    assert main["blend_ps"] == cells["blend_ps"]


@pytest.mark.parametrize("name", NAMES)
def test_hub_datasets_are_pinned(name: str) -> None:
    assert re.fullmatch("[0-9a-f]{40}", study(name).dataset.revision or "")
