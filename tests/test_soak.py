"""A long job stays as small as it was: nothing of a finished chain is kept but its place."""

import gc
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil
import pytest

import specs
import tiny
from powerblend import load_model
from powerblend.api.generation import Generation
from powerblend.engine.chain import Chain
from powerblend.infrastructure.files import write_jsonl
from powerblend.study.answers import answer
from powerblend.study.store import ChainStore
from powerblend.vocabulary.problem import Problem

# Minutes on a machine with other work: in `make test-slow`.
pytestmark = pytest.mark.slow

PROBLEMS, SAMPLES, ROWS = 100, 30, 64
EVERY = 250
SPEC = specs.cell({"sampler": "power", "alpha": 2.0, "max_new_tokens": 4, "blocks": 2, "steps": 1})
GROWTH = 6.0
"""MiB that 2,000 chains may add; their records alone, held, would add more."""

MiB = 2**20


class WatchedStore(ChainStore):
    """Notes, every so many chains, the memory and the objects that are alive."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.count = 0
        self.resident: list[float] = []
        self.alive: list[int] = []

    def add(self, record: Mapping[str, Any]) -> None:
        super().add(dict(record) | {"ballast": record["key"] * 64})
        self.count += 1
        if self.count % EVERY == 0:
            gc.collect()
            self.resident.append(psutil.Process().memory_info().rss / MiB)
            kinds = (Chain, Generation)
            self.alive.append(sum(type(o) in kinds for o in gc.get_objects()))


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> WatchedStore:
    folder = tmp_path_factory.mktemp("soak")
    store = WatchedStore(folder / "chains.jsonl")
    records = answer(
        SPEC,
        load_model(tiny.save(folder / "model", num_hidden_layers=2)),
        [Problem(f"{n} + 1?", str(n + 1), f"sums/{n}") for n in range(PROBLEMS)],
        labels={},
        samples=SAMPLES,
        rows=ROWS,
        store=store,
    )
    write_jsonl(folder / "records.jsonl", (record.model_dump() for record in records))
    store.close()
    with (folder / "records.jsonl").open() as lines:
        assert sum(len(json.loads(line)["ballast"]) == 4096 for line in lines) == store.count
    return store


def test_memory_is_flat(watched: WatchedStore) -> None:
    assert watched.count == PROBLEMS * SAMPLES
    third = len(watched.resident) // 3
    assert watched.resident[-1] - watched.resident[third - 1] < GROWTH, watched.resident


def test_finished_chains_are_let_go(watched: WatchedStore) -> None:
    # Those at work, and those that one step finished.
    assert max(watched.alive) <= 2 * ROWS, watched.alive
