"""What is planned after every kind of change: no more, and no less."""

import json
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dry_study import WITH_DRAFT, DryStudy
from powerblend.figures import FIGURES
from powerblend.jobs.code import CODE, NAMED_BY_CONTENT, REVISED
from small_study import ROOT, problems

FIGURE = {"figure": len(FIGURES)}
END = {"tables": 1, "report": 1} | FIGURE
"""What is written anew whenever anything is, or the configuration is another."""

OTHER_END = {"config": 1} | END


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> DryStudy:
    """A study with a draft that has run."""
    study = DryStudy(tmp_path_factory.mktemp("drafted"), **WITH_DRAFT)
    study.snakemake()
    return study


@pytest.fixture(scope="module")
def finished_without_draft(tmp_path_factory: pytest.TempPathFactory) -> DryStudy:
    """A study without a draft that has run."""
    study = DryStudy(tmp_path_factory.mktemp("plain"))
    study.snakemake()
    return study


@pytest.fixture
def study(finished: DryStudy) -> Iterator[DryStudy]:
    yield finished
    finished.write()


def cells(count: int) -> dict[str, int]:
    return {"generate": count, "grade": count}


EVERYTHING = {"check": 1, "probe": 1, "draft": 1} | cells(4) | OTHER_END
SHARDS = {"shard": 1, "check": 1}
PROBED = {"probe": 1}

KEYS: dict[str, tuple[dict[str, Any], dict[str, int]]] = {
    "title": ({"title": "Another"}, OTHER_END),
    "contrasts": ({"contrasts": ["ps - greedy"]}, OTHER_END),
    "resources": ({"resources": {"rows": 5, "threads": 2, "mem_mb": 600, "runtime": 9}}, OTHER_END),
    "seed": ({"seed": 7}, EVERYTHING | {"check": 0}),
    "samples": ({"samples": 2}, cells(4) | PROBED | OTHER_END),
    "model.dtype": ({"model": {"dtype": "float32"}}, EVERYTHING),
    "dataset.split": ({"dataset": {"split": "x"}}, EVERYTHING | {"problems": 1, "shard": 1}),
    "prompt.system": ({"prompt": {"system": "Think."}}, EVERYTHING),
    "prompt.template": ({"prompt": {"template": "{problem}!"}}, EVERYTHING),
    "prompt.chat_template": ({"prompt": {"chat_template": {"x": 1}}}, EVERYTHING),
    "shards.use": ({"shards": {"use": [0, 1]}}, SHARDS | cells(4) | PROBED | OTHER_END),
    "shards.of": ({"shards": {"of": 3}}, SHARDS | cells(4) | PROBED | OTHER_END),
    "decoding.steps": ({"decoding": {"steps": 3}}, {"check": 1} | cells(3) | OTHER_END),
    "decoding.max_new_tokens": (
        {"decoding": {"max_new_tokens": 16}},
        {"check": 1, "probe": 1} | cells(4) | OTHER_END,
    ),
    "blends.layer": (
        {"blends": {"layer": {"beta": 0.1}}},
        {"check": 1, "probe": 1} | cells(1) | OTHER_END,
    ),
    "use less": ({"use": ["greedy", "ps", "draft_blend_ps"]}, {"check": 1, "probe": 1} | OTHER_END),
    "use more": (
        {"use": [*WITH_DRAFT["use"], "temp"]},
        {"check": 1} | cells(1) | OTHER_END,
    ),
    "sweep": (
        {"sweep": {"conditions": ["ps"], "over": {"alpha": [2, 4]}}},
        {"check": 1} | cells(1) | OTHER_END,
    ),
    "grading": ({"grading": {"grader": "integer"}}, {"check": 1, "grade": 4} | OTHER_END),
    "training.steps": (
        {"training": {"steps": 4}},
        {"check": 1, "probe": 1, "draft": 1} | cells(1) | OTHER_END,
    ),
    "probe.layers": ({"probe": {"layers": [0]}}, {"check": 1, "probe": 1} | OTHER_END),
    "probe.over": (
        {"probe": {"enabled": False, "layers": []}},
        {"check": 1} | OTHER_END,
    ),
}
"""A change of each key of the configuration, and the jobs that it takes."""


def counted(jobs: dict[str, int]) -> dict[str, int]:
    return {rule: count for rule, count in jobs.items() if count}


def test_a_finished_study_plans_nothing(
    finished: DryStudy, finished_without_draft: DryStudy
) -> None:
    assert finished.planned() == finished_without_draft.planned() == {}


@pytest.mark.parametrize("key", KEYS)
def test_a_changed_key_plans_what_reads_it(study: DryStudy, key: str) -> None:
    change, expected = KEYS[key]
    study.write(**change)
    assert study.planned() == counted(expected)


@pytest.mark.parametrize("key", ["title", "decoding.steps"])
def test_changing_a_key_back_writes_up_the_study_only(tmp_path: Path, key: str) -> None:
    study = DryStudy(tmp_path, use=["greedy", "ps"], probe={"enabled": False, "layers": []})
    study.snakemake()
    study.write(**KEYS[key][0])
    study.snakemake()
    assert study.planned() == {}
    study.write()
    assert study.planned() == END | ({} if key == "title" else {"check": 1})
    study.snakemake()
    assert study.planned() == {}


def rewritten(name: str, change: Callable[[str], str]) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        path = folder / name
        path.write_text(change(path.read_text()))

    return edit


def with_problems(name: str, rows: list[dict[str, Any]]) -> Callable[[Path], None]:
    return rewritten(name, lambda _: "".join(json.dumps(row) + "\n" for row in rows))


def flipped_weight(folder: Path) -> None:
    path = folder / "model" / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


OF_PROBLEMS = {"problems": 1, "shard": 1, "check": 1, "probe": 1} | cells(4) | END
OF_MODEL = {"check": 1, "probe": 1, "draft": 1} | cells(4) | OTHER_END

FILES: dict[str, tuple[Callable[[Path], None], dict[str, int]]] = {
    "a problem edited": (
        with_problems("data.jsonl", [problems()[0] | {"answer": "9"}, *problems()[1:]]),
        OF_PROBLEMS,
    ),
    "a problem added": (with_problems("data.jsonl", problems(7)), OF_PROBLEMS),
    "a problem removed": (with_problems("data.jsonl", problems(5)), OF_PROBLEMS),
    "a training problem removed": (
        with_problems("train.jsonl", problems(12)[7:]),
        {"problems": 1, "draft": 1, "probe": 1} | cells(1) | END,
    ),
    "the weights": (flipped_weight, OF_MODEL),
    "the chat template": (rewritten("model/chat_template.jinja", lambda t: t + " "), OF_MODEL),
    "the worked examples": (rewritten("shots.yaml", lambda t: t.replace("'2'", "'3'")), OF_MODEL),
    "published numbers": (
        rewritten("../project/resources/published.yaml", lambda t: t + "\n# more\n"),
        {"report": 1} | FIGURE,
    ),
}

PACKAGE = "../project/workflow/powerblend/"
STAGES = {
    "datasets/math.py": {"problems": 2, "draft": 1} | OF_PROBLEMS | {"problems": 2},
    "datasets/gsm8k.py": {},
    "jobs/check.py": {"check": 1},
    "graders/math.py": {"grade": 4} | END,
    "graders/mathematics/boxed.py": {"grade": 4} | END,
    "graders/integer.py": {},
    "analysis/overall.py": END,
    "figures/accuracy.py": {"figure": 1, "report": 1},
    "report/conclusions.py": {"report": 1},
    "report/templates/setup.md.j2": {"report": 1},
    "cli.py": {},
}
"""An edit of a stage's code."""

for name, expected in STAGES.items():
    comment = "\n{# #}\n" if name.endswith(".j2") else "\n# edited\n"
    FILES[name] = (
        rewritten(PACKAGE + name, lambda text, comment=comment: text + comment),
        expected,
    )


@pytest.fixture
def restored(study: DryStudy, tmp_path: Path) -> Iterator[DryStudy]:
    """The study, whose files are afterwards what they were."""
    parts = [study.project, study.folder / "model"]
    files = [study.folder / name for name in ("data.jsonl", "train.jsonl", "shots.yaml")]
    for path in parts:
        shutil.copytree(path, tmp_path / path.name)
    for path in files:
        shutil.copy2(path, tmp_path / path.name)
    yield study
    for path in parts:
        shutil.rmtree(path)
        shutil.copytree(tmp_path / path.name, path)
    for path in files:
        shutil.copy2(tmp_path / path.name, path)


@pytest.mark.parametrize("what", FILES)
def test_an_edited_file_plans_what_is_made_of_it(restored: DryStudy, what: str) -> None:
    edit, expected = FILES[what]
    edit(restored.folder)
    assert restored.planned() == expected


def test_an_edit_and_a_changed_key_are_both_seen(restored: DryStudy) -> None:
    restored.write(decoding={"steps": 3})
    (restored.folder / PACKAGE / "graders" / "math.py").open("a").write("\n# edited\n")
    with_problems("train.jsonl", problems(12)[7:])(restored.folder)
    jobs = restored.planned()
    assert (jobs["generate"], jobs["grade"], jobs["draft"]) == (3, 4, 1)


def test_a_forced_rule_is_run_beside_a_changed_key(study: DryStudy) -> None:
    study.write(decoding={"steps": 3})
    jobs = study.planned("--forcerun", "generate", "--until", "generate")
    assert jobs["generate"] == 4


LOST = {
    "results/small/config-*.json": OTHER_END,
    "results/small/specs/ps-*.json": OTHER_END | {"config": 1},
    "results/small/checked.json": {"check": 1, "report": 1},
    "results/small/problems/*/shard-*.jsonl": SHARDS | cells(4) | PROBED | END,
    "results/small/generate/ps-*/*.jsonl": cells(1) | END,
    "results/small/grade/*/ps-*/*.jsonl": {"grade": 1} | END,
    "results/small/probe/*.json": PROBED | END,
    "results/small/tables/overall.csv": END,
    "results/small/tables/summary.json": END,
    "results/small/tables/probe_layers.csv": END,
    "results/small/tables/probe_blends.csv": END,
    "report/small/accuracy.png": {"figure": 1, "report": 1},
    "report/small/accuracy.svg": {"figure": 1, "report": 1},
    "report/small.md": {"report": 1},
    "report/small.html": {"report": 1},
}


@pytest.mark.parametrize("pattern", LOST)
def test_a_lost_output_is_made_again(study: DryStudy, pattern: str, tmp_path: Path) -> None:
    (lost,) = study.folder.glob(pattern)
    shutil.move(lost, tmp_path / "lost")
    try:
        assert study.planned() == LOST[pattern]
    finally:
        shutil.move(tmp_path / "lost", lost)


WITHOUT_DRAFT = {"title": OTHER_END, "decoding.steps": {"check": 1} | cells(2) | OTHER_END}


@pytest.mark.parametrize("key", WITHOUT_DRAFT)
def test_a_changed_key_without_a_draft(finished_without_draft: DryStudy, key: str) -> None:
    finished_without_draft.write(**KEYS[key][0])
    try:
        assert finished_without_draft.planned() == WITHOUT_DRAFT[key]
    finally:
        finished_without_draft.write()


def test_no_stage_lacks_a_revision_or_its_code() -> None:
    files = sorted((ROOT / "workflow" / "rules").glob("*.smk"))
    text = "".join(path.read_text() for path in files)
    bodies = dict(
        re.findall(r"^(?:use rule \w+ as|rule) (\w+)(?: with)?:(.*?)(?=^\S|\Z)", text, re.M | re.S)
    )
    assert bodies.keys() == CODE.keys() | REVISED.keys() | NAMED_BY_CONTENT.keys()
    for rule in CODE:
        assert f'code("{rule}"' in bodies[rule]


def test_eight_jobs_run_at_once_on_eight_devices(tmp_path: Path) -> None:
    """By the command of config.yaml: threads decide nothing there, and each job has one."""
    config = (ROOT / "config.yaml").read_text()
    assert "snakemake --cores 8 --resources gpu=8\n" in config
    threads = int(re.search(r"threads: (\d+)", config)[1])  # type: ignore[index]
    study = DryStudy(
        tmp_path,
        use=["greedy"],
        shards={"of": 8, "use": "0-7"},
        dataset={"name": "eight.jsonl"},
        resources={"gpu": 1, "threads": threads, "mem_mb": 500},
        probe={"enabled": False, "layers": []},
    )
    study.write_problems("eight.jsonl", problems(8))
    busy = tmp_path / "busy"
    busy.mkdir()
    options = ("--cores", "8", "--resources", "gpu=8", "--until", "generate")
    study.snakemake(*options, DEVICES=str(busy))
    assert (tmp_path / "busy.most").read_text() == "8"
