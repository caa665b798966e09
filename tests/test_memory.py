"""Rows are chosen by free memory, and halved where memory ends all the same."""

import logging
import weakref
from functools import partialmethod
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import tiny
from powerblend import Model, load_model, sample
from powerblend.api import generation, loading
from powerblend.api.generation import Request, Run
from powerblend.engine import memory
from powerblend.engine.batch import StepInputs
from powerblend.engine.cache import RaggedCache
from powerblend.engine.tiled_linear import Panelled, Tiled
from powerblend.samplers import parse_sampler

DECODING = {"sampler": "power", "alpha": 2.0, "max_new_tokens": 8, "blocks": 2, "steps": 2}
PROMPTS = [[5, 6, n] for n in range(7, 17)]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return load_model(tiny.save(tmp_path_factory.mktemp("model")), dtype="float64")


@pytest.mark.parametrize(("free", "rows"), [(0, 1), (10**12, 64)])
def test_rows_follow_the_free_memory(
    model: Model, monkeypatch: pytest.MonkeyPatch, free: int, rows: int
) -> None:
    monkeypatch.setattr(memory, "free_bytes", lambda device: free)
    assert memory.decide_rows(model, 100) == rows


@pytest.mark.parametrize(
    ("error", "ended"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"), True),
        (RuntimeError("CUDA error: out of memory"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate`"), True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to"), True),
        (RuntimeError("CUDA error: an illegal memory access was encountered"), False),
    ],
)
def test_memory_may_end_in_several_words(error: RuntimeError, ended: bool) -> None:
    assert memory.is_out_of_memory(error) == ended


def test_weights_from_files_are_rearranged_one_by_one_and_held_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that loading takes the memory of the files and of one more arrangement at the most."""
    original: list[weakref.ref[nn.Module]] = []
    left = []
    from_files = loading._from_files

    def watched(*arguments: Any) -> Any:
        tokenizer, hf = from_files(*arguments)
        original.extend(weakref.ref(m.weight) for m in hf.modules() if type(m) is nn.Linear)
        return tokenizer, hf

    def counted(self: Any, linear: nn.Linear, *, make: Any) -> None:
        make(self, linear)
        left.append(sum(weight() is not None for weight in original))

    monkeypatch.setattr(loading, "_from_files", watched)
    for kind in (Tiled, Panelled):
        monkeypatch.setattr(kind, "__init__", partialmethod(counted, make=kind.__init__))
    loaded = load_model(tiny.save(tmp_path), dtype="float64")
    assert left == sorted(left, reverse=True)
    assert left[0] > left[-1]
    assert [weight for weight in original if weight() is not None] == []
    assert loaded.num_layers == tiny.LAYERS


def test_a_row_is_charged_for_its_keys(model: Model) -> None:
    cache = model.cache(3, 50)
    assert 3 * (model.row_bytes(50) - model.row_bytes(0)) == cache._store.nbytes


@pytest.mark.parametrize(("steps", "tokens"), [(0, 2 + 8), (2, 2 + 8 + 4)])
def test_rows_leave_room_for_what_proposals_may_give_back(
    model: Model, monkeypatch: pytest.MonkeyPatch, steps: int, tokens: int
) -> None:
    charged = []
    monkeypatch.setattr(generation, "decide_rows", lambda model, n, share: charged.append(n) or 1)
    decoding = {"sampler": "power", "alpha": 2.0, "max_new_tokens": 8, "blocks": 2, "steps": steps}
    Run(model, [Request([5, 7], "problem", 0)], parse_sampler(decoding), 0, None)
    assert charged == [tokens]


def test_a_copy_holds_no_more_than_half_an_answer_on_the_average(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved, save = [], RaggedCache.save

    def counted(self: RaggedCache, slot: int, start: int, stop: int) -> Any:
        saved.append(stop - start)
        return save(self, slot, start, stop)

    monkeypatch.setattr(RaggedCache, "save", counted)
    decoding = {"sampler": "power", "alpha": 1.0, "max_new_tokens": 16, "blocks": 1, "steps": 20}
    sample(model, [[5, 7], [9]], decoding, samples=16)
    moves = [n for n in saved if n]
    assert 2 < sum(moves) / len(moves) < 16 / 2


def test_out_of_memory_halves_the_rows_and_changes_no_answer(
    model: Model, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    expected = sample(model, PROMPTS, DECODING, rows=3)
    step = Model.step

    def limited(self: Model, cache: Any, inputs: StepInputs, *rest: Any) -> Any:
        if inputs.num_rows > 3:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return step(self, cache, inputs, *rest)

    monkeypatch.setattr(Model, "step", limited)
    with caplog.at_level(logging.WARNING):
        out = sample(model, PROMPTS, DECODING, rows=10)
    assert "out of memory: going on with 5 rows" in caplog.text
    assert "out of memory: going on with 2 rows" in caplog.text
    assert [o[0].tokens for o in out] == [o[0].tokens for o in expected]


def test_other_errors_are_not_taken_for_it(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> Any:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    monkeypatch.setattr(Model, "step", broken)
    with pytest.raises(RuntimeError, match="shapes"):
        sample(model, PROMPTS, DECODING, rows=4)
