"""A damaged file ends a step in a sentence that names it, or is repaired with a warning.

Never in a traceback, and never in a wrong number.
"""

import json
import logging
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import chdir
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pandas as pd
import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

import specs
import tiny
from powerblend.cli import main
from powerblend.engine import REVISION
from powerblend.study.cells import cells_of
from powerblend.study.layout import Layout
from powerblend.study.schema import parse_study
from powerblend.study.store import ChainStore
from small_study import ROOT, merged, problems

Damage = Callable[[Path], None]

CONFIG = merged(
    yaml.safe_load((ROOT / "config.yaml").read_text()),
    {
        "study": "small",
        "model": {"name": "model", "revision": None, "dtype": "float64"},
        "dataset": {"name": "data.jsonl", "revision": None},
        "prompt": {"template": "{problem}", "chat_template": {}},
        "shards": {"of": 1, "use": [0]},
        "decoding": {"max_new_tokens": 8, "blocks": 2},
        "use": ["greedy", "temp"],
        "probe": {"enabled": False, "layers": [], "over": "greedy"},
    },
)
STUDY = parse_study(CONFIG)
# What the model's files hold is in the names of the jobs' files.
with TemporaryDirectory() as somewhere, chdir(somewhere):
    tiny.save(Path("model"))
    LAYOUT = Layout(STUDY)
    CELLS = cells_of(STUDY)
GREEDY = CELLS["greedy"]
SHARD = LAYOUT.problems_dir / "shard-0-of-1.jsonl"
STORE = LAYOUT.chains(GREEDY.name, "shard-0-of-1")
(RECORDS,) = LAYOUT.generated(GREEDY)
(GRADES,) = LAYOUT.graded(GREEDY)
SUMMARY = LAYOUT.tables / "summary.json"

STEPS = {
    "config": ["--merged", json.dumps(CONFIG), "--output", LAYOUT.config],
    "problems": ["--spec", LAYOUT.dataset_spec(LAYOUT.problems_dir.name),
                 "--output", LAYOUT.problems],
    "check": ["--spec", LAYOUT.check_spec, "--problems", LAYOUT.problems, "--shards", SHARD,
              "--output", LAYOUT.checked],
    "specs": ["--config", LAYOUT.config],
    "generate": ["--spec", LAYOUT.spec(GREEDY.name), "--problems", SHARD, "--store", STORE,
                 "--rows", "3", "--study", "small", "--condition", "greedy", "--output", RECORDS],
    "grade": ["--spec", LAYOUT.grading_spec, "--records", RECORDS, "--problems", SHARD,
              "--output", GRADES],
    "tables": ["--config", LAYOUT.config, "--output", LAYOUT.tables / "overall.csv",
               "--summary", SUMMARY],
    "figures": ["accuracy", "--summary", SUMMARY,
               "--published", ROOT / "resources/published.yaml", "--output", "drawn"],
}  # fmt: skip


def step(name: str, *more: object) -> int:
    """Run a step of the study in the current folder; its exit status."""
    return main([name, *map(str, STEPS[name]), *map(str, more)])


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small study in which every step has been run."""
    folder = tmp_path_factory.mktemp("finished")
    tiny.save(folder / "model")
    (folder / "data.jsonl").write_text("".join(json.dumps(p) + "\n" for p in problems()))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert step("config") == 0
        assert step("problems") == 0
        shutil.copy(LAYOUT.problems, SHARD)
        for name in ("check", "specs", "generate", "grade"):
            assert step(name) == 0
        (other,) = LAYOUT.graded(CELLS["temp"])
        other.parent.mkdir()
        shutil.copy(GRADES, other)
        assert step("tables") == 0
    return folder


@pytest.fixture
def study(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> Iterator[Path]:
    """A copy of it to damage, as the current folder."""
    folder = shutil.copytree(finished, tmp_path / "study")
    monkeypatch.chdir(folder)
    caplog.set_level(logging.INFO)
    yield folder
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def write(path: Path, content: bytes) -> None:
    path.write_bytes(content)


def line(number: int, change: Callable[[bytes], bytes]) -> Damage:
    """Change one line, counted from 1."""

    def damage(path: Path) -> None:
        lines = path.read_bytes().splitlines(keepends=True)
        lines[number - 1] = change(lines[number - 1])
        path.write_bytes(b"".join(lines))

    return damage


def field(number: int, **values: Any) -> Damage:
    """Set fields of a line's record; ... takes one out."""

    def change(text: bytes) -> bytes:
        record = json.loads(text) | values
        return json.dumps({k: v for k, v in record.items() if v is not ...}).encode() + b"\n"

    return line(number, change)


def cut(*, to: int) -> Damage:
    """Cut a file at a byte."""
    return lambda path: write(path, path.read_bytes()[:to])


def replaced(content: bytes) -> Damage:
    """Another content."""
    return lambda path: write(path, content)


def without(tensor: str) -> Damage:
    """Leave a tensor out of a file of weights."""

    def damage(path: Path) -> None:
        kept = {name: value for name, value in load_file(path).items() if name != tensor}
        save_file(kept, path, metadata={"format": "pt"})

    return damage


def pickled(path: Path) -> None:
    """Weights in the format that runs code as it is read."""
    torch.save(load_file(path), path.with_name("pytorch_model.bin"))
    path.unlink()


TORN = line(3, lambda text: text[:20] + b"\n")
LATIN = line(3, lambda text: text[:20] + b"\xe9" + text[20:])
LOST = line(6, lambda text: b"")
TWICE = line(3, lambda text: 2 * text)

DATA = [
    (TORN, "data.jsonl, line 3: not JSON in UTF-8"),
    (LATIN, "data.jsonl, line 3: not JSON in UTF-8"),
    (line(2, lambda text: b"[]\n"), "data.jsonl, line 2: list, not an object"),
    (replaced(b""), "dataset.name: data.jsonl holds no problems"),
    (field(2, answer=" "), "data.jsonl, line 2: has no answer"),
    (field(2, answer=None), "data.jsonl, line 2: has no answer"),
    (field(5, problem=...), "math reads the column 'problem', but data.jsonl, line 5, has"),
    (
        field(1, answer=...),
        "dataset.adapter: math reads the column 'answer', but data.jsonl, line 1, has",
    ),
    (TWICE, "data.jsonl, line 4: has the unique_id 'sums/2' of line 3; every problem needs"),
    (field(4, problem="\ud800"), "data.jsonl, line 4: problem is no text"),
]
WAY_OUT = (
    "; if the workflow made it, delete it and run the workflow again; if not, give the file that "
    "belongs there (--help says which)"
)
REMADE = f"{WAY_OUT}; finished chains are stored and stay"
PART = [
    (TORN, f"{SHARD}, line 3: not JSON in UTF-8"),
    (LOST, f"{SHARD}, line 6: not what the dataset has there (5 problems of 6){WAY_OUT}"),
    (replaced(b""), f"{SHARD}, line 1: not what the dataset has there (0 problems of 6)"),
    (field(2, answer="4"), f"{SHARD}, line 2: not what the dataset has there (6 problems of 6)"),
    (TWICE, f"{SHARD}, line 4: not what the dataset has there (7 problems of 6)"),
]
MODEL = [
    ("model.safetensors", cut(to=5000), "cannot load the model model: "),
    ("model.safetensors", cut(to=0), "cannot load the model model: "),
    (
        "model.safetensors",
        without("model.layers.1.input_layernorm.weight"),
        "cannot load the model model: its weights lack model.layers.1.input_layernorm.weight",
    ),
    ("model.safetensors", pickled, "no file named model.safetensors"),
    ("config.json", cut(to=50), "model/config.json' is not a valid JSON file"),
    ("tokenizer.json", cut(to=200), "cannot load the model model: "),
    ("generation_config.json", cut(to=20), "generation_config.json' is not a valid JSON file"),
]
ANSWERS = [
    (TORN, f"{RECORDS}, line 3: not JSON in UTF-8"),
    (LATIN, f"{RECORDS}, line 3: not JSON in UTF-8"),
    (field(2, completion=...), f"{RECORDS}, line 2: completion: field required{REMADE}"),
    (field(2, tokens="[]"), f"{RECORDS}, line 2: tokens: input should be a valid list{REMADE}"),
    (field(2, log_p=float("nan")), f"{RECORDS}, line 2: log_p: input should be a finite number"),
    (LOST, f"{RECORDS}: 5 answers instead of 6{REMADE}"),
    (replaced(b""), f"{RECORDS}: 0 answers instead of 6{REMADE}"),
    (
        TWICE,
        f"{RECORDS}, line 4: sample 0 of 'sums/2', where sample 0 of 'sums/3' belongs{REMADE}",
    ),
    (field(2, sample=1), f"{RECORDS}, line 2: sample 1 of 'sums/1', where sample 1 of 'sums/0'"),
    (field(6, problem_id="sums/7"), f"{RECORDS}, line 6: sample 0 of 'sums/7', where sample 0 of"),
]
VERDICTS = [
    (TORN, f"{GRADES}, line 3: not JSON in UTF-8"),
    (field(4, correct="yes"), f"{GRADES}, line 4: correct: input should be a valid boolean"),
    (field(4, decoded_tokens=...), f"{GRADES}, line 4: decoded_tokens: field required{REMADE}"),
    (field(4, seconds=None), f"{GRADES}, line 4: seconds: input should be a valid number"),
    (LOST, "greedy and temp did not answer the same problems: they differ in [('sums/5', 0)]"),
    (TWICE, "answers are there twice: [('greedy', 'sums/2', 0)]"),
]
CASES = [
    *[("problems", Path("data.jsonl"), *case) for case in DATA],
    *[("check", SHARD, *case) for case in PART],
    ("check", LAYOUT.check_spec, cut(to=40), f"{LAYOUT.check_spec}: not JSON in UTF-8"),
    ("check", LAYOUT.check_spec, replaced(b"study: small\n"), WAY_OUT),
    ("generate", SHARD, TORN, f"{SHARD}, line 3: not JSON in UTF-8"),
    (
        "generate",
        SHARD,
        field(2, unique_id=...),
        f"{SHARD}, line 2: unique_id: field required{WAY_OUT}",
    ),
    *[("generate", Path("model") / file, *case) for file, *case in MODEL],
    ("grade", SHARD, TORN, f"{SHARD}, line 3: not JSON in UTF-8"),
    *[("grade", RECORDS, *case) for case in ANSWERS],
    *[("tables", GRADES, *case) for case in VERDICTS],
    ("figures", SUMMARY, cut(to=40), f"{SUMMARY}: not JSON in UTF-8"),
]


@pytest.mark.parametrize(
    ("name", "file", "damage", "sentence"),
    CASES,
    ids=[f"{name}-{file.name}-{number}" for number, (name, file, *_) in enumerate(CASES)],
)
def test_a_damaged_file_is_named(
    study: Path,
    caplog: pytest.LogCaptureFixture,
    name: str,
    file: Path,
    damage: Damage,
    sentence: str,
) -> None:
    output = Path(str(STEPS[name][-1]))
    output.unlink(missing_ok=True)
    damage(file)
    assert step(name) == 1
    (record,) = [r for r in caplog.records if r.levelno == logging.ERROR]
    assert sentence in record.getMessage()
    assert "\n" not in record.getMessage()
    assert not output.exists()


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"PAR1 and no more", "dataset.name: cannot read data.parquet: "),
        (None, "dataset.name: data.parquet holds no problems"),
    ],
)
def test_a_damaged_table_is_named(
    study: Path, caplog: pytest.LogCaptureFixture, content: bytes | None, sentence: str
) -> None:
    table = Path("data.parquet")
    if content is None:
        pd.DataFrame({"problem": [], "answer": []}).to_parquet(table)
    else:
        table.write_bytes(content)
    spec = specs.written('{"name": "data.parquet"}', Path("spec.json"))
    assert main(["problems", "--spec", spec, "--output", "out.jsonl"]) == 1
    assert sentence in caplog.text


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("generate", "{}", "spec.json: engine: missing; "),
        ("generate", '{"engine": "2", "model": 1}', "spec.json: model: Input should be a valid di"),
        ("generate", "{", "spec.json: not JSON in UTF-8 (Expecting property name enclosed in"),
        ("generate", "[]", "spec.json: it holds [], not a mapping; "),
        ("probe", "{}", "spec.json: probe: missing; "),
        ("match", "{}", "spec.json: probe: missing; "),
        ("train-draft", '{"a": 1}', "spec.json: engine: missing; "),
        ("grade", "{", "spec.json: not JSON in UTF-8 ("),
        ("grade", '{"grader": "oral"}', "spec.json: Input tag 'oral' found using 'grader' does"),
        ("problems", '{"nam": 1}', "spec.json: name: missing; "),
    ],
)
def test_a_spec_that_does_not_hold_what_it_should_is_named(
    study: Path, caplog: pytest.LogCaptureFixture, name: str, content: str, sentence: str
) -> None:
    Path("spec.json").write_text(content)
    files = {"store": STORE, "problems": SHARD, "records": RECORDS, "output": "out.json"}
    takes = {"problems": ["output"], "grade": ["problems", "records", "output"]}
    takes |= {
        "train-draft": ["problems", "store", "output"],
        "generate": ["problems", "store", "output"],
    }
    paths = [f"--{key}={files[key]}" for key in takes.get(name, ["problems", "output"])]
    assert main([name, "--spec", "spec.json", *paths]) == 1
    (record,) = [r for r in caplog.records if r.levelno == logging.ERROR]
    assert f"error: {sentence}" in record.getMessage()


def test_a_figure_that_there_is_none_of_is_named(
    study: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert main(["figures", "nosuch", *map(str, STEPS["figures"][1:])]) == 1
    assert "there is no figure 'nosuch'; use one of architecture, accuracy, " in caplog.text


def test_a_cell_of_another_engine_is_refused(study: Path, caplog: pytest.LogCaptureFixture) -> None:
    RECORDS.unlink()
    other = GREEDY.spec.model_copy(update={"engine": "0"})
    assert step("generate", "--spec", specs.written(other, Path("spec.json"))) == 1
    assert f"the cell is of engine revision 0, but this is revision {REVISION}" in caplog.text
    assert not RECORDS.exists()


REPAIRS = [
    (cut(to=-30), "line 6: torn by an interruption; dropped", 5),
    (TORN, "line 3: not JSON in UTF-8", 5),
    (LATIN, "line 3: not JSON in UTF-8", 5),
    (field(3, key=...), "line 3: no key; that chain will be run again", 5),
    (TWICE, "", 6),
    (field(3, key="0" * 64), "", 5),
    (replaced(b""), "", 0),
]


@pytest.mark.parametrize(("damage", "warning", "kept"), REPAIRS)
def test_a_damaged_store_costs_the_damaged_chains(
    study: Path, caplog: pytest.LogCaptureFixture, damage: Damage, warning: str, kept: int
) -> None:
    before = decided(RECORDS)
    RECORDS.unlink()
    damage(STORE)
    assert step("generate") == 0
    assert f"{kept} of 6 chains are in the store" in caplog.text
    assert warning in caplog.text
    assert decided(RECORDS) == before


def decided(path: Path) -> list[dict[str, Any]]:
    """Records without what depends on the company that a chain had."""
    rows = [json.loads(text) for text in path.open()]
    undetermined = ("seconds", "log_p", "log_t", "log_t_by_block")
    return [{k: v for k, v in row.items() if k not in undetermined} for row in rows]


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 43},
        {"decoding": {"max_new_tokens": 6}},
        {"conditions": {"greedy": {"blend": "layer"}}, "blends": {"layer": {"layer": 1}}},
        {"prompt": {"template": "Now: {problem}"}},
    ],
)
def test_records_of_two_configurations_are_never_mixed(
    study: Path, caplog: pytest.LogCaptureFixture, change: dict[str, Any]
) -> None:
    """Even where both wrote into one store, as after an edit that nothing else noticed."""
    edited = cells_of(parse_study(merged(CONFIG, change)))["greedy"]
    assert edited.name != GREEDY.name
    before = decided(RECORDS)
    more = ("--spec", specs.written(edited.spec, Path("spec.json")), "--output")
    assert step("generate", *more, "edited.jsonl") == 0
    assert "0 of 6 chains are in the store" in caplog.text
    assert step("generate", *more, "alone.jsonl", "--store", "alone/chains.jsonl") == 0
    assert decided(Path("edited.jsonl")) == decided(Path("alone.jsonl")) != before
    assert step("generate", "--output", "again.jsonl") == 0
    assert "6 of 6 chains are in the store" in caplog.text
    assert decided(Path("again.jsonl")) == before


def test_a_store_that_changes_under_a_job_is_noticed(
    study: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    opened = ChainStore.__init__

    def open_and_edit(self: ChainStore, path: Path, **options: bool) -> None:
        opened(self, path)
        cut(to=900)(path)

    monkeypatch.setattr(ChainStore, "__init__", open_and_edit)
    RECORDS.unlink()
    assert step("generate") == 1
    assert f"{STORE}: changed since this job opened it" in caplog.text
    assert not RECORDS.exists()
