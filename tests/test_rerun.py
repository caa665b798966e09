"""What is planned after every kind of change: no more, and no less.

By default the keys of a group are changed together, and of what is alike a part is tried;
`make test-slow` tries everything alone.
"""

import ast
import json
import os
import re
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, get_args

import pytest
import yaml
from _pytest.mark import ParameterSet
from pydantic import BaseModel

from dry_study import WITH_DRAFT, DryStudy
from powerblend.study.code import CODE, IN_PATH, NAMED_BY_CONTENT, REVISED, code_of
from powerblend.study.schema import Study
from small_study import ROOT, problems

Jobs = dict[str, int]
Changes = dict[str, Any]

TABLED = {"tables": 1, "figures": 1, "report": 1}
"""What is made of all numbers."""

END = TABLED | {"answers": 1}
"""What is made of all grades."""

WRITTEN = {"config": 1} | END
"""The same where the configuration is another, which writes it first."""


def cells(count: int) -> Jobs:
    return {"generate": count, "grade": count}


TOLD = {"specs": 1} | WRITTEN
"""The same where a job of the model is to do something else."""

CHECKED = {"check": 1} | TOLD

ANSWERS = {"draft": 1, "probe": 1} | cells(4)
"""All that the model does."""

BY_POWER = CHECKED | cells(3)
PROBED = CHECKED | {"probe": 1}
RESHARDED = PROBED | {"shard": 1} | cells(4)
RETRAINED = PROBED | {"draft": 1} | cells(1)
READ_ANEW = PROBED | {"problems": 1, "shard": 1} | cells(4)

SEED = 42
"""Of the study: with it alone in ``seeds`` nothing would run."""

KEYS: dict[str, tuple[dict[str, Changes], Jobs]] = {
    "nothing": (
        {
            "resources.rows": {"resources": {"rows": 5}},
            "resources.gpu": {"resources": {"gpu": 1}},
            "resources.threads": {"resources": {"threads": 2}},
            "resources.mem_mb": {"resources": {"mem_mb": 600}},
            "resources.runtime": {"resources": {"runtime": 9}},
        },
        {},
    ),
    "words": (
        {
            "title": {"title": "Another"},
            "contrasts": {"contrasts": ["ps - greedy"]},
            "equivalence_margin": {"equivalence_margin": 4},
        },
        WRITTEN,
    ),
    "long run": (
        {
            "long_run": {
                "long_run": "ps",
                "samples": 2,
                "conditions": {"ps": {"move_values": True}},
            }
        },
        CHECKED | {"probe": 1} | cells(4),
    ),
    "study": ({"study": {"study": "other"}}, READ_ANEW | {"problems": 2, "draft": 1}),
    "seed": ({"seed": {"seed": 7}}, TOLD | ANSWERS),
    "seeds": ({"seeds": {"seeds": [SEED, SEED + 1]}}, TOLD | cells(4)),
    "samples": ({"samples": {"samples": 2}}, {"probe": 1} | cells(4) | WRITTEN),
    "model and prompt": (
        {
            "model.name": {"model": {"name": "./model"}},
            "model.revision": {"model": {"revision": "x"}},
            "model.dtype": {"model": {"dtype": "float32"}},
            "prompt.system": {"prompt": {"system": "Think."}},
            "prompt.template": {"prompt": {"template": "{problem}!"}},
            "prompt.shots": {"prompt": {"shots": None}},
            "prompt.chat_template": {"prompt": {"chat_template": {"x": 1}}},
            "prompt.chat_template_jinja": {"prompt": {"chat_template_jinja": "{{ messages }}"}},
        },
        CHECKED | ANSWERS,
    ),
    "dataset": (
        {
            "dataset.name": {"dataset": {"name": "./data.jsonl"}},
            "dataset.revision": {"dataset": {"revision": "x"}},
            "dataset.subset": {"dataset": {"subset": "x"}},
            "dataset.split": {"dataset": {"split": "x"}},
            "dataset.columns": {"dataset": {"columns": {"answer": "answer"}}},
        },
        READ_ANEW,
    ),
    "adapter": ({"dataset.adapter": {"dataset": {"adapter": "gsm8k"}}}, READ_ANEW),
    "shards.of": ({"shards.of": {"shards": {"of": 3}}}, RESHARDED),
    "shards.use": ({"shards.use": {"shards": {"use": [0, 1]}}}, RESHARDED),
    "decoding": (
        {
            "decoding.alpha": {"decoding": {"alpha": 2}},
            "decoding.blocks": {"decoding": {"blocks": 4}},
            "decoding.steps": {"decoding": {"steps": 3}},
            "decoding.mh": {"decoding": {"mh": "published"}},
            "decoding.proposal": {"decoding": {"proposal": "target"}},
        },
        BY_POWER,
    ),
    "longest answer": (
        {"decoding.max_new_tokens": {"decoding": {"max_new_tokens": 16}}},
        PROBED | cells(4),
    ),
    "blend": (
        {
            "blends.layer.beta": {"blends": {"layer": {"beta": 0.1}}},
            "blends.layer.layer": {"blends": {"layer": {"layer": 0}}},
            "blends.layer.norm": {"blends": {"layer": {"norm": "final"}}},
            "blends.draft.beta": {"blends": {"draft": {"beta": 0.2}}},
        },
        PROBED | cells(2),
    ),
    "conditions": (
        {"conditions": {"conditions": {"ps": {"steps": 3}}}},
        CHECKED | cells(1),
    ),
    "fewer conditions": ({"use": {"use": ["greedy", "ps", "draft_blend_ps"]}}, PROBED),
    "more conditions": (
        {"use": {"use": [*WITH_DRAFT["use"], "temp"]}},
        CHECKED | cells(1),
    ),
    "sweep": (
        {
            "sweep.conditions": {"sweep": {"conditions": ["ps"], "over": {"alpha": [2, 4]}}},
            "sweep.over": {"sweep": {"conditions": ["ps"], "over": {"alpha": [4, 8]}}},
        },
        CHECKED | cells(1),
    ),
    "grading": (
        {"grading": {"grading": {"grader": "integer"}}},
        {"check": 1, "grade": 4} | WRITTEN,
    ),
    "training": (
        {
            "training.mask_token": {"training": {"mask_token": "!"}},
            "training.layers": {"training": {"layers": 1}},
            "training.block": {"training": {"block": 8}},
            "training.max_new_tokens": {"training": {"max_new_tokens": 6}},
            "training.steps": {"training": {"steps": 4}},
            "training.batch": {"training": {"batch": 3}},
            "training.learning_rate": {"training": {"learning_rate": 0.5}},
        },
        RETRAINED,
    ),
    "training.problems": (
        # Those of the study: that they are is for the job to refuse.
        {"training.problems": {"training": {"problems": "data.jsonl"}}},
        RETRAINED,
    ),
    "probe": (
        {
            "probe.problems": {"probe": {"problems": 3}},
            "probe.tokens": {"probe": {"tokens": 9}},
            "probe.layers": {"probe": {"layers": [0]}},
            "probe.betas": {"probe": {"betas": [0.5]}},
            "probe.over": {"probe": {"over": "solutions"}},
        },
        PROBED,
    ),
    "plain prompts": ({"prompt.style": {"prompt": {"style": "plain"}}}, CHECKED | ANSWERS),
    "how it is run": (
        {
            "shards.per_job": {"shards": {"per_job": 2}},
            "resources.speculate": {"resources": {"speculate": "off"}},
        },
        {},
    ),
    "no probe": ({"probe.enabled": {"probe": {"enabled": False}}}, {"check": 1} | WRITTEN),
}
"""Changes of the configuration by the keys that they change, and the jobs that they take."""

ONE_BLEND = {"blends.draft.beta", "blends.layer.beta", "blends.layer.layer", "blends.layer.norm"}
"""Keys that only one of the conditions of their group reads."""

ALONE = [(key, change, jobs) for changes, jobs in KEYS.values() for key, change in changes.items()]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> DryStudy:
    """A study with a draft that has run."""
    study = DryStudy(tmp_path_factory.mktemp("drafted"), **WITH_DRAFT)
    study.run()
    return study


@pytest.fixture(scope="module")
def finished_without_draft(tmp_path_factory: pytest.TempPathFactory) -> DryStudy:
    """A study without a draft that has run."""
    study = DryStudy(tmp_path_factory.mktemp("plain"))
    study.run()
    return study


@pytest.fixture
def study(finished: DryStudy) -> Iterator[DryStudy]:
    yield finished
    finished.write()


def test_a_finished_study_plans_nothing(
    finished: DryStudy, finished_without_draft: DryStudy
) -> None:
    assert finished.planned() == finished_without_draft.planned() == {}


def combined(changes: dict[str, Changes]) -> Changes:
    whole: Changes = {}
    for change in changes.values():
        whole = merge(whole, change)
    return whole


def merge(one: Changes, other: Changes) -> Changes:
    both = {
        key: merge(one[key], value)
        for key, value in other.items()
        if isinstance(value, dict) and isinstance(one.get(key), dict)
    }
    return one | other | both


@pytest.mark.parametrize("group", KEYS)
def test_changed_keys_plan_what_reads_them(study: DryStudy, group: str) -> None:
    changes, expected = KEYS[group]
    study.write(**combined(changes))
    assert study.planned() == expected


@pytest.mark.slow
@pytest.mark.parametrize(("key", "change", "expected"), ALONE, ids=[key for key, *_ in ALONE])
def test_a_key_changed_alone(study: DryStudy, key: str, change: Changes, expected: Jobs) -> None:
    study.write(**change)
    assert study.planned() == expected | (cells(1) if key in ONE_BLEND else {})


def sections(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """The keys of a configuration, down to those that are not written key by key."""
    for name, field in model.model_fields.items():
        kinds = [field.annotation, *get_args(field.annotation)]
        inner = [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)]
        if len(inner) == 1 and name != "grading":
            yield from sections(inner[0], f"{prefix}{name}.")
        else:
            yield prefix + name


def test_no_key_of_the_configuration_is_left_out() -> None:
    changed = {key for key, *_ in ALONE}
    missing = {
        key
        for key in sections(Study)
        if not any(c == key or c.startswith(key + ".") for c in changed)
    }
    assert not missing, f"say in KEYS what a change of {missing} plans"


def mostly_slow(cases: Iterable[str], *quick: str) -> list[ParameterSet]:
    """The cases as parameters, all but a few of them for `make test-slow`."""
    slow = pytest.mark.slow
    return [pytest.param(case, marks=() if case in quick else slow) for case in cases]


WITHOUT_DRAFT = {
    "words": WRITTEN,
    "decoding": CHECKED | cells(2),
    "nothing": {},
    "model and prompt": PROBED | cells(3),
    "blend": PROBED | cells(1),
}


@pytest.mark.parametrize("group", mostly_slow(WITHOUT_DRAFT, "decoding", "blend"))
def test_changed_keys_without_a_draft(finished_without_draft: DryStudy, group: str) -> None:
    finished_without_draft.write(**combined(KEYS[group][0]))
    try:
        assert finished_without_draft.planned() == WITHOUT_DRAFT[group]
    finally:
        finished_without_draft.write()


def test_changing_back_writes_up_the_study_only(finished_without_draft: DryStudy) -> None:
    study = finished_without_draft
    study.write(title="Another", decoding={"steps": 3})
    study.run()
    assert study.planned() == {}
    study.write(title="Another")
    assert study.planned() == {"check": 1} | WRITTEN
    study.write()
    assert study.planned() == {"check": 1} | END
    study.run()
    assert study.planned() == {}


class Edit(NamedTuple):
    """A change of a file of the study, by its path in the study's folder."""

    path: str
    change: Callable[[bytes], bytes]


def appended(path: str, text: str) -> Edit:
    return Edit(path, lambda content: content + text.encode())


def with_problems(name: str, rows: list[dict[str, Any]]) -> Edit:
    content = "".join(json.dumps(row) + "\n" for row in rows).encode()
    return Edit(name, lambda _: content)


OF_PROBLEMS = {"problems": 1, "shard": 1, "check": 1, "probe": 1} | cells(4) | END

FILES: dict[str, tuple[Edit, Jobs]] = {
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
    "the weights": (
        Edit("model/model.safetensors", lambda weights: weights[:-1] + bytes([weights[-1] ^ 1])),
        CHECKED | ANSWERS,
    ),
    "the chat template": (
        appended("model/chat_template.jinja", " "),
        CHECKED | ANSWERS,
    ),
    "the worked examples": (
        Edit("shots.yaml", lambda shots: shots.replace(b"'2'", b"'3'")),
        CHECKED | ANSWERS,
    ),
    "published numbers": (
        appended("../project/resources/published.yaml", "\n# more\n"),
        {"report": 1, "figures": 1},
    ),
}

PACKAGE = "../project/workflow/powerblend/"
REGRADED = {"grade": 4} | WRITTEN
STAGES = {
    "datasets/math.py": OF_PROBLEMS | {"problems": 2, "draft": 1},
    "datasets/gsm8k.py": {},
    "jobs/check.py": {"check": 1, "report": 1},
    "graders/math.py": REGRADED,
    "graders/boxed.py": REGRADED,
    "graders/mathematics/numbers.py": REGRADED,
    "graders/integer.py": {},
    "analysis/overall.py": TABLED,
    "figures/accuracy.py": {"figures": 1, "report": 1},
    "figures/style.py": {"figures": 1, "report": 1},
    "report/conclusions.py": {"report": 1},
    "report/html.py": {"report": 1, "answers": 1},
    "report/templates/setup.md.j2": {"report": 1},
    "cli.py": {},
}
"""An edit of a stage's code."""

for name, expected in STAGES.items():
    comment = "\n{# #}\n" if name.endswith(".j2") else "\n# edited\n"
    FILES[name] = (appended(PACKAGE + name, comment), expected)


@contextmanager
def edited(study: DryStudy, *edits: Edit) -> Iterator[None]:
    """Files of the study, and of its copy of the project, as they are edited."""
    package = study.project / "workflow" / "powerblend"
    kept = [(study.folder / edit.path, (study.folder / edit.path).stat()) for edit in edits]
    contents = [path.read_bytes() for path, _ in kept]
    try:
        for (path, _), content, edit in zip(kept, contents, edits, strict=True):
            path.write_bytes(edit.change(content))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("powerblend.study.code.PACKAGE", package)
            yield
    finally:
        for (path, state), content in zip(kept, contents, strict=True):
            path.write_bytes(content)
            os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))


@pytest.mark.parametrize(
    "what",
    mostly_slow(
        FILES,
        "a problem edited",
        "a training problem removed",
        "the weights",
        "the chat template",
        "the worked examples",
        "published numbers",
        "datasets/math.py",
        "graders/boxed.py",
        "graders/integer.py",
        "analysis/overall.py",
        "figures/accuracy.py",
        "report/templates/setup.md.j2",
    ),
)
def test_an_edited_file_plans_what_is_made_of_it(study: DryStudy, what: str) -> None:
    edit, expected = FILES[what]
    with edited(study, edit):
        assert study.planned() == expected


def test_an_edit_and_a_changed_key_are_both_seen(study: DryStudy) -> None:
    study.write(decoding={"steps": 3})
    fewer = with_problems("train.jsonl", problems(12)[7:])
    with edited(study, fewer, appended(PACKAGE + "jobs/check.py", "\n")):
        assert study.planned() == RETRAINED | {"problems": 1} | cells(3)


def test_a_forced_rule_is_run_beside_a_changed_key(study: DryStudy) -> None:
    study.write(decoding={"steps": 3})
    jobs = study.planned(forcerun={"generate"}, until={"generate"})
    assert jobs["generate"] == 4


LOST = {
    "results/small/config-*.json": WRITTEN,
    "results/small/specs/*.json": {},
    "results/small/checked.json": {"check": 1, "report": 1},
    "results/small/problems/*/problems.jsonl": OF_PROBLEMS,
    "results/small/problems/*/shard-*.jsonl": {},
    "results/small/draft/*": {"draft": 1, "probe": 1} | cells(1) | END,
    "results/small/generate/ps-*/*.jsonl": cells(1) | END,
    "results/small/generate/greedy-*/*.jsonl": cells(1) | {"probe": 1} | END,
    "results/small/grade/*/ps-*/*.jsonl": {"grade": 1} | END,
    "results/small/probe/*.json": {"probe": 1} | TABLED,
    "results/small/tables/overall.csv": TABLED,
    "results/small/tables/summary.json": TABLED,
    "results/small/tables/probe_layers.csv": TABLED,
    "results/small/tables/probe_blends.csv": TABLED,
    "report/small/accuracy.png": {"figures": 1, "report": 1},
    "report/small/accuracy.svg": {"figures": 1, "report": 1},
    "report/small.md": {"report": 1},
    "report/small.html": {"report": 1},
    "report/small_answers.html": {"answers": 1},
}


@pytest.mark.parametrize(
    "pattern",
    mostly_slow(
        LOST,
        "results/small/checked.json",
        "results/small/problems/*/problems.jsonl",
        "results/small/generate/ps-*/*.jsonl",
        "results/small/grade/*/ps-*/*.jsonl",
        "results/small/tables/probe_layers.csv",
        "report/small/accuracy.svg",
        "report/small.html",
    ),
)
def test_a_lost_output_is_made_again(study: DryStudy, pattern: str, tmp_path: Path) -> None:
    lost = list(study.folder.glob(pattern))
    for number, path in enumerate(lost):
        shutil.move(path, tmp_path / str(number))
    try:
        assert study.planned() == LOST[pattern]
    finally:
        for number, path in enumerate(lost):
            shutil.move(tmp_path / str(number), path)


def test_no_output_of_a_job_is_left_out(finished: DryStudy) -> None:
    """Logs, times, chain stores and what was remembered are no outputs."""
    outputs = {
        str(path.relative_to(finished.folder))
        for part in ("results/small", "report")
        for path in (finished.folder / part).rglob("*")
        if path.is_file() and not {"logs", "times", "chains"} & set(path.parts)
    }
    listed = {
        str(file.relative_to(finished.folder))
        for pattern in LOST
        for path in finished.folder.glob(
            re.sub(r"accuracy|(ps|greedy)-(?=\*)", "*", pattern).replace("**", "*")
        )
        for file in [path, *path.rglob("*")]
    }
    assert outputs <= listed


BODIES = re.compile(
    r"""^(?:(?:use\ rule\ \w+\ as|rule)\ (\w+)(?:\ with)?:
    |for\ number,.*?name:\s+"(\w+)")       # one of many, for groups of shards
    (.*?)(?=^\S|\Z)""",
    re.MULTILINE | re.DOTALL | re.VERBOSE,
)


def test_no_stage_lacks_a_revision_or_its_code() -> None:
    files = sorted((ROOT / "workflow" / "rules").glob("*.smk"))
    found = BODIES.findall("".join(path.read_text() for path in files))
    bodies = {name or named: body for name, named, body in found}
    assert bodies.keys() == CODE.keys() | REVISED.keys() | NAMED_BY_CONTENT.keys()
    for rule in CODE.keys() - set(IN_PATH):
        assert f'code("{rule}"' in bodies[rule]


NO_CODE_OF_A_STAGE = (
    *(
        "infrastructure/",
        "jobs/__init__.py",
        "vocabulary/errors.py",
        "vocabulary/frozen.py",
        "jobs/arguments.py",
    ),
    # How a configuration is read: what is read of it is in the name of its file.
    *("study/schema.py", "study/layout.py", "study/cells.py", "study/resolve.py"),
    *("study/sweep.py", "study/code.py", "vocabulary/specs.py", "samplers/", "blends/"),
    # Has a revision.
    *("engine/", "draft/", "api/"),
)
"""What any job may import, though it decides nothing of what the job writes."""


@pytest.mark.parametrize("stage", CODE)
def test_a_stages_code_is_all_that_its_job_imports(stage: str) -> None:
    package = ROOT / "workflow" / "powerblend"
    chosen = {"problems": "math", "grade": "math"}.get(stage, "")
    decides = {str(path) for path in code_of(stage, chosen)}
    # Rooms of which it uses one file, and what only decides what problems there are.
    others = {"grade": "graders/", "tables": "graders/"}.get(stage, "//")
    passed_over = (*NO_CODE_OF_A_STAGE, others, "datasets/")
    missing = {
        name
        for name in imported(package, f"jobs/{stage}.py")
        if name not in decides and not name.startswith(passed_over)
    }
    assert not missing, f"add {sorted(missing)} to the code of {stage}"


def imported(package: Path, name: str) -> set[str]:
    """Files that a file imports, and those that these do, as far as they may decide something."""
    found, todo = set(), [name]
    while todo:
        file = todo.pop()
        if file in found or file.startswith(NO_CODE_OF_A_STAGE):
            continue
        found.add(file)
        for node in ast.walk(ast.parse((package / file).read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("powerblend."):
                todo += files_of(package, str(node.module), [name.name for name in node.names])
    return found


def files_of(package: Path, module: str, names: list[str]) -> Iterator[str]:
    inside = Path(*module.split(".")[1:])
    for path in [inside, *(inside / name for name in names)]:
        for file in (path.with_suffix(".py"), path / "__init__.py"):
            if (package / file).is_file():
                yield str(file)


def test_eight_jobs_run_at_once_on_eight_devices(tmp_path: Path) -> None:
    """By the command of config.yaml: threads decide nothing there, and each job has one."""
    text = (ROOT / "config.yaml").read_text()
    assert "snakemake --cores 8 --resources gpu=8\n" in text
    assert "snakemake --cores 8 --resources gpu=8\n" in (ROOT / "README.md").read_text()
    study = DryStudy(
        tmp_path,
        use=["greedy"],
        shards={"of": 8, "use": "0-7"},
        dataset={"name": "eight.jsonl"},
        resources=yaml.safe_load(text)["resources"],
        probe={"enabled": False, "layers": []},
    )
    study.write_problems("eight.jsonl", problems(8))
    (study.folder / "busy").mkdir()
    study.run(cores=8, gpus=8, until={"generate"})
    assert (study.folder / "most").read_text() == "8"
