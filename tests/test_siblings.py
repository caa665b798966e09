"""Conditions of a study share a process with the model in memory, and nothing else changes."""

import datetime
import json
import logging
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

import tiny
from dry_study import WITH_DRAFT, DryStudy
from equality import nearly, untimed
from powerblend.blends import DraftBlend
from powerblend.cli import main
from powerblend.infrastructure.files import FullDisk, read_jsonl
from powerblend.infrastructure.interrupts import Terminated
from powerblend.jobs import models
from powerblend.study import known_keys
from powerblend.study.cells import cells_of
from powerblend.study.problems import write_problems
from powerblend.study.schema import parse_study
from powerblend.study.store import Busy, ChainStore, StoreByShard
from powerblend.vocabulary.problem import Problem
from powerblend.vocabulary.specs import CellSpec
from small_study import ROOT, environment, merged

CHAINS = 6
"""Two samples of three problems, in two shards."""

SHARDS = ["shard-0-of-2", "shard-1-of-2"]

ALL_THERE = f"{CHAINS} of {CHAINS} chains are in the store"


class Cells:
    """Three cells of one model: their specs, and what jobs do with them in a folder."""

    def __init__(self, project: Path, names: Mapping[str, str]) -> None:
        self.project, self.where = project, project
        self.names = names

    def spec(self, condition: str) -> Path:
        return self.project / f"specs/{self.names[condition]}.json"

    def store(self, condition: str, shard: str = SHARDS[0]) -> Path:
        return self.where / f"chains/{self.names[condition]}/{shard}.jsonl"

    def command(self, condition: str, *siblings: str) -> list[str]:
        outputs = [str(self.where / f"out/{condition}-{shard}.jsonl") for shard in SHARDS]
        return [
            *("generate", "--spec", str(self.spec(condition)), "--rows", "3", "--samples", "2"),
            *("--problems", str(self.project / "problems.jsonl"), "--shards", *SHARDS),
            *("--store", *(str(self.store(condition, shard)) for shard in SHARDS)),
            *("--output", *outputs, "--study", "s", "--condition", condition),
            *("--siblings", *(str(self.spec(name)) for name in siblings)),
        ]

    def run(self, condition: str, *siblings: str) -> int:
        return main(self.command(condition, *siblings))

    def records(self, condition: str) -> list[dict[str, Any]]:
        paths = [self.where / f"out/{condition}-{shard}.jsonl" for shard in SHARDS]
        return [untimed(record) for path in paths for record in read_jsonl(path)]

    def stored(self, condition: str) -> int:
        return sum(map(lines, (self.store(condition, shard) for shard in SHARDS)))


def lines(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Cells:
    """The cells, each of whose records a job of its own has written."""
    folder = tmp_path_factory.mktemp("siblings")
    tiny.save(folder / "model")
    write_problems(
        folder / "problems.jsonl", [Problem(f"What is {n} + 1?", "1", f"sums/{n}") for n in "123"]
    )
    changes = {
        "model": {"name": str(folder / "model"), "revision": None, "dtype": "float64"},
        "dataset": {"name": str(folder / "problems.jsonl"), "revision": None},
        "decoding": {"max_new_tokens": 8, "blocks": 2},
        "use": ["temp", "ps", "blend_greedy"],
        "blends": {"layer": {"layer": 1}},
        "probe": {"enabled": False},
    }
    study = parse_study(merged(yaml.safe_load((ROOT / "config.yaml").read_text()), changes))
    made = cells_of(study)
    cells = Cells(folder, {condition: cell.name for condition, cell in made.items()})
    for condition, cell in made.items():
        cells.spec(condition).parent.mkdir(exist_ok=True)
        cells.spec(condition).write_text(cell.spec.canonical)
        assert cells.run(condition) == 0
    return cells


@pytest.fixture
def alone(project: Cells) -> Callable[[str], list[dict[str, Any]]]:
    """What a condition's records are where nothing is shared."""
    return lambda condition: nearly(project.records(condition))


@pytest.fixture
def cells(project: Cells, tmp_path: Path) -> Cells:
    """The cells, of which nothing has been done."""
    fresh = Cells(project.project, project.names)
    fresh.where = tmp_path
    return fresh


@pytest.fixture(autouse=True)
def _info(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)


def test_a_job_does_its_siblings_chains_with_one_model(
    cells: Cells,
    alone: Callable[[str], list[dict[str, Any]]],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    loads = []
    load = models.load
    monkeypatch.setattr(models, "load", lambda *a, **k: loads.append(a) or load(*a, **k))
    assert cells.run("ps", "temp", "blend_greedy") == 0
    assert len(loads) == 1
    assert {p.name for p in (cells.where / "out").iterdir()} == {f"ps-{s}.jsonl" for s in SHARDS}
    assert (cells.stored("temp"), cells.stored("blend_greedy")) == (CHAINS, CHAINS)
    name = cells.names["temp"]
    assert f"goes on with {name}" in caplog.messages
    assert f"{name}: 0 of {CHAINS} chains are in the store" in caplog.messages

    caplog.clear()
    for condition in ("temp", "blend_greedy"):
        assert cells.run(condition, "ps") == 0
        assert cells.records(condition) == alone(condition)
    assert len(loads) == 1
    assert caplog.messages.count(ALL_THERE) == 2
    assert cells.records("ps") == alone("ps")


def test_torch_is_not_imported_where_all_chains_are_there(cells: Cells) -> None:
    assert cells.run("temp", "ps") == 0
    program = (
        "import sys; from powerblend.cli import main; assert main(sys.argv[1:]) == 0;"
        "assert not {'torch', 'transformers', 'tokenizers'} & {*sys.modules}"
    )
    command = [sys.executable, "-c", program, *cells.command("ps", "temp")]
    subprocess.run(command, check=True, env=environment())
    assert len(cells.records("ps")) == CHAINS


def test_chains_that_are_gone_are_done_again(
    cells: Cells, alone: Callable[[str], list[dict[str, Any]]]
) -> None:
    """Though their keys are known: the store decides what is there."""
    assert cells.run("temp") == 0
    cells.store("temp").unlink()
    assert cells.run("temp") == 0
    assert cells.records("temp") == alone("temp")
    assert cells.stored("temp") == CHAINS


def test_a_store_that_is_busy_is_passed_over(cells: Cells) -> None:
    busy = ChainStore(cells.store("temp", SHARDS[1]))
    assert cells.run("ps", "temp", "blend_greedy") == 0
    assert (cells.stored("temp"), cells.stored("blend_greedy")) == (0, CHAINS)
    stores = [cells.store("temp", shard) for shard in SHARDS]
    with pytest.raises(Busy) as caught:
        StoreByShard([([], store) for store in stores], wait=False)
    # That of the first shard is locked no longer.
    ChainStore(stores[0], wait=False).close()
    busy.close()
    assert str(stores[1]) in str(caught.value)


def test_a_job_whose_store_is_busy_does_others_work_first(
    cells: Cells,
    alone: Callable[[str], list[dict[str, Any]]],
    caplog: pytest.LogCaptureFixture,
) -> None:
    busy = ChainStore(cells.store("ps"))

    def release() -> None:
        deadline = time.monotonic() + 60
        while "waiting until" not in caplog.text and time.monotonic() < deadline:
            time.sleep(0.01)
        busy.close()

    waiting = threading.Thread(target=release)
    waiting.start()
    assert cells.run("ps", "temp") == 0
    waiting.join()
    assert caplog.text.index("goes on with") < caplog.text.index("waiting until")
    assert cells.stored("temp") == CHAINS
    assert cells.records("ps") == alone("ps")


def test_a_siblings_failure_is_its_own(cells: Cells, caplog: pytest.LogCaptureFixture) -> None:
    broken = cells.where / "broken-0123456789.json"
    broken.write_text("{")
    command = cells.command("temp", "ps")
    assert main([*command[:-1], str(broken), command[-1]]) == 0
    assert "broken-0123456789: its chains cannot be done here (DamagedFile: " in caplog.text
    assert len(cells.records("temp")) == CHAINS
    assert cells.stored("ps") == 0


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (Terminated(), 143, "terminated; what was finished is kept"),
        (FullDisk("no room"), 1, "error: no room"),
    ],
)
def test_an_end_in_the_middle_of_a_sibling_leaves_whole_chains(
    cells: Cells,
    alone: Callable[[str], list[dict[str, Any]]],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    error: BaseException,
    status: int,
    said: str,
) -> None:
    add, added = ChainStore.add, []

    def ending(store: ChainStore, record: Any) -> None:
        if len(added) == CHAINS + 2:
            raise error
        added.append(record)
        add(store, record)

    with monkeypatch.context() as patch:
        patch.setattr(ChainStore, "add", ending)
        assert cells.run("temp", "ps") == status
    assert said in caplog.text
    assert cells.records("temp") == alone("temp")
    assert cells.stored("ps") == 2
    assert cells.run("ps") == 0
    assert f"2 of {CHAINS} chains are in the store" in caplog.messages
    assert cells.records("ps") == alone("ps")


def test_another_models_cell_is_no_sibling(cells: Cells) -> None:
    spec = json.loads(cells.spec("ps").read_text())
    spec["model"]["dtype"] = "float32"
    other = cells.where / "ps-0123456789.json"
    other.write_text(json.dumps(spec))
    assert main([*cells.command("temp"), str(other), str(cells.where / "missing.json")]) == 0
    assert [path.name for path in (cells.where / "chains").iterdir()] == [cells.names["temp"]]


@pytest.fixture
def files(tmp_path: Path, project: Cells) -> Callable[[], str | None]:
    """What decides tokens and draft, of a model and a draft in the folder."""
    for name in ("tokenizer.json", "chat_template.jinja", "model.safetensors"):
        (tmp_path / "model").mkdir(exist_ok=True)
        (tmp_path / "model" / name).write_text("{}")
    (tmp_path / "draft").mkdir()
    (tmp_path / "draft/model.safetensors").write_text("{}")
    spec = CellSpec.model_validate_json(project.spec("temp").read_text())
    blend = DraftBlend(beta=0.1, draft="trained")
    spec = spec.model_copy(
        update={
            "model": spec.model.model_copy(update={"name": "embedded/m", "content": None}),
            "decoding": spec.decoding.model_copy(update={"blend": blend}),
        }
    )
    paths = str(tmp_path / "model"), tmp_path / "draft"
    return lambda: known_keys.loaded_files(spec, *paths)


@pytest.mark.parametrize(
    ("path", "decides"),
    [
        ("model/tokenizer.json", True),
        ("model/chat_template.jinja", True),
        ("draft/model.safetensors", True),
        ("model/model.safetensors", False),
    ],
)
def test_known_keys_hold_for_these_files_only(
    files: Callable[[], str | None], tmp_path: Path, path: str, decides: bool
) -> None:
    before = files()
    assert before == files() is not None
    (tmp_path / path).write_text("{ }")
    assert (files() != before) == decides


def test_known_keys_hold_for_a_day_and_these_packages_only(
    files: Callable[[], str | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = files()
    with monkeypatch.context() as patch:
        patch.setattr(known_keys, "version", lambda name: "0")
        assert files() != before

    tomorrow = datetime.date.today() + datetime.timedelta(days=1)

    class Tomorrow(datetime.date):
        @classmethod
        def today(cls) -> datetime.date:
            return tomorrow

    monkeypatch.setattr(known_keys.datetime, "date", Tomorrow)
    assert files() != before


@pytest.mark.parametrize(("revision", "known"), [("main", False), (None, False), ("a" * 40, True)])
def test_what_the_hub_holds_is_known_by_a_commit_only(
    project: Cells, revision: str | None, known: bool
) -> None:
    spec = CellSpec.model_validate_json(project.spec("temp").read_text())
    model = spec.model.model_copy(update={"name": "a/b", "revision": revision, "content": None})
    hub = spec.model_copy(update={"model": model})
    assert (known_keys.loaded_files(hub, None, None) is not None) == known


def test_known_keys_hold_for_a_spec_its_problems_and_samples_only(
    project: Cells, tmp_path: Path
) -> None:
    spec = CellSpec.model_validate_json(project.spec("temp").read_text())
    problems = [Problem("What is 1 + 1?", "2", "a"), Problem("What is 1 + 2?", "3", "b")]
    store = tmp_path / "shard.jsonl"
    basis = known_keys.basis(spec, 1, "files")
    assert known_keys.known_keys(store, basis, problems) is None
    known_keys.know_keys(store, basis, problems, ["k", "l"])
    assert known_keys.known_keys(store, basis, problems) == ["k", "l"]

    prompt = spec.prompt.model_copy(update={"template": "{problem}!"})
    others = [
        known_keys.basis(spec.model_copy(update={"prompt": prompt}), 1, "files"),
        known_keys.basis(spec.model_copy(update={"seed": 1}), 1, "files"),
        known_keys.basis(spec, 2, "files"),
        known_keys.basis(spec, 1, "other files"),
    ]
    assert [known_keys.known_keys(store, other, problems) for other in others] == [None] * 4
    asked = [problems[0], Problem("What is 2 + 1?", "3", "b")]
    assert known_keys.known_keys(store, basis, asked) is None
    assert known_keys.known_keys(store, basis, problems[::-1]) is None
    store.with_suffix(".keys.json").write_text("{")
    assert known_keys.known_keys(store, basis, problems) is None


def test_a_store_without_locks_is_no_siblings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def none(*_: Any) -> None:
        raise OSError("no locks available")

    monkeypatch.setattr("fcntl.flock", none)
    with pytest.raises(Busy, match="cannot be locked"):
        ChainStore(tmp_path / "a.jsonl", wait=False)
    ChainStore(tmp_path / "a.jsonl").close()
    assert "run this study once at a time" in caplog.text


@pytest.fixture(scope="module")
def planned(tmp_path_factory: pytest.TempPathFactory) -> DryStudy:
    """Conditions of the model alone, of its trained draft, and of a beta that is matched."""
    folder = tmp_path_factory.mktemp("planned")
    random = {"random": {"source": "random", "beta": {"match_kl": "layer"}}}
    conditions = {
        "draft_greedy": {"sampler": "greedy", "blend": "draft"},
        "random_greedy": {"sampler": "greedy", "blend": "random"},
        "random_ps": {"sampler": "power", "blend": "random"},
    }
    use = ["greedy", "ps", "blend_ps", "draft_blend_ps", *conditions]
    changes = {"blends": random, "conditions": conditions, "use": use}
    return DryStudy(folder, **merged(WITH_DRAFT, changes))


def siblings(study: DryStudy, remote: bool = False) -> dict[str, list[str]]:
    """Conditions by that whose job goes on with them."""
    found = {}
    for cell, settings in study.settings_of("generate", remote).items():
        _, _, given = settings.partition(" --siblings ")
        specs = [Path(word).stem for word in given.split() if word.endswith(".json")]
        found[named(cell)] = [named(spec) for spec in specs]
    return found


def named(cell: str) -> str:
    return cell.split("-")[0]


def test_siblings_share_model_draft_and_beta_and_those_with_moves_come_first(
    planned: DryStudy,
) -> None:
    assert siblings(planned) == {
        "greedy": ["ps", "blend_ps"],
        "ps": ["blend_ps", "greedy"],
        "blend_ps": ["ps", "greedy"],
        "draft_blend_greedy": ["draft_blend_ps"],
        "draft_blend_ps": ["draft_blend_greedy"],
        "random_blend_greedy": ["random_blend_ps"],
        "random_blend_ps": ["random_blend_greedy"],
    }


def test_a_clusters_job_has_no_siblings(planned: DryStudy) -> None:
    given = siblings(planned, remote=True)
    assert len(given) == 7
    assert not any(given.values())


def test_what_is_answered_is_no_sibling(planned: DryStudy) -> None:
    cell = next(cell for cell in planned.settings_of("generate") if cell.startswith("ps"))
    records = planned.folder / f"results/small/generate/{cell}"
    records.mkdir(parents=True)
    (records / f"{SHARDS[0]}x1.jsonl").touch()
    assert siblings(planned)["greedy"] == ["blend_ps"]
