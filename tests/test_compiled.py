"""Compiled loops compute what torch's operations do, of a row the same in any company."""

from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import tiny
from equality import nearly, records
from powerblend import load_model, sample
from powerblend.engine import compiled_rows, compiler, panel_product
from powerblend.engine.compiled_rows import (
    Angles,
    HeadNorms,
    Norm,
    Where,
    added,
    attended,
    gated,
    placed,
    places,
)
from powerblend.engine.fused_layers import rotated
from powerblend.engine.panel_product import BLOCKS, Panels
from powerblend.engine.tiled_linear import Panelled, Tiled, tiled

pytest.importorskip("llvmlite")

TOLERANCES = {torch.float32: 1e-5, torch.float64: 1e-13}
SHAPES = [(1, 5), (17, 5), (64, 33), (1000, 7)]
ROWS = [1, 2, *range(6, 10), 17, 26, 100]

kinds = pytest.mark.parametrize("dtype", TOLERANCES)


@pytest.fixture(autouse=True)
def one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """With several threads all is torch's."""
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    if not compiler.serves(torch.zeros(1)):
        pytest.skip("this processor does not multiply and add in one operation")


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def close(ours: Tensor, theirs: Tensor) -> None:
    tolerance = TOLERANCES[ours.dtype]
    torch.testing.assert_close(ours, theirs, rtol=tolerance, atol=tolerance)


@kinds
@pytest.mark.parametrize("registers", BLOCKS)
@pytest.mark.parametrize(("outputs", "inputs"), SHAPES)
def test_products_are_those_of_a_linear_map(
    outputs: int, inputs: int, registers: int, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the rows, which a product takes in parts where they are many."""
    monkeypatch.setattr(panel_product, "registers", lambda: registers)
    monkeypatch.setattr("powerblend.engine.panel_product.NUMBERS_AT_ONCE", 1)
    weight = torch.randn(outputs, inputs, dtype=dtype)
    panels = Panels.of(weight)
    assert torch.equal(panels.weight, weight)
    for rows in ROWS:
        numbers = torch.randn(rows, inputs, dtype=dtype)
        whole = panels.product(numbers)
        close(whole, numbers @ weight.t())
        close(panels.product(numbers.t().contiguous().t()), whole)
        for row in (0, rows // 2, rows - 1):
            assert torch.equal(panels.product(numbers[row : row + 1])[0], whole[row])


@pytest.mark.parametrize("bias", [True, False])
def test_maps_are_saved_and_learnt_through_as_torch_s_are(bias: bool) -> None:
    whole = nn.Sequential(nn.Linear(5, 40, bias=bias, dtype=torch.float64))
    saved = {name: weight.clone() for name, weight in whole.state_dict().items()}
    inputs = torch.randn(2, 3, 5, dtype=torch.float64, requires_grad=True)
    expected = whole(inputs)
    (theirs,) = torch.autograd.grad(expected.square().sum(), inputs)
    ours = tiled(whole)
    assert isinstance(ours[0], Panelled)
    close(ours(inputs), expected)
    close(ours(inputs.detach()), expected.detach())
    close(torch.autograd.grad(ours(inputs).square().sum(), inputs)[0], theirs)
    assert saved.keys() == ours.state_dict().keys()
    for name, weight in ours.state_dict().items():
        assert torch.equal(weight, saved[name])


def test_several_threads_leave_products_to_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    assert isinstance(tiled(nn.Sequential(nn.Linear(5, 40)))[0], Tiled)


@kinds
def test_norms_gates_and_sums_are_torch_s(
    dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    norm, numbers = Norm(32, 1e-5, dtype=dtype), torch.randn(3, 2, 32, dtype=dtype)
    nn.init.normal_(norm.weight)
    both = (
        torch.randn(3, 2, 64, dtype=dtype) * torch.tensor([1.0, 9, 900], dtype=dtype)[:, None, None]
    )
    bias, beside = torch.randn(32, dtype=dtype), torch.randn(32, 2, 3, dtype=dtype).transpose(0, 2)
    with torch.no_grad():

        def computed() -> list[Tensor]:
            return [norm(numbers), gated(both), added(numbers, beside), added(numbers, bias)]

        ours = computed()
        monkeypatch.setattr(compiled_rows, "serves", lambda _: False)
        for mine, theirs in zip(ours, computed(), strict=True):
            close(mine, theirs)


def test_what_learns_is_torch_s() -> None:
    norm, numbers = Norm(32, 1e-5), torch.randn(3, 32, requires_grad=True)
    for output in (norm(numbers), gated(numbers), added(torch.zeros(32), numbers[0])):
        assert output.grad_fn is not None


def seen(part: Tensor, before: Tensor | None, slot: int, first: int, stop: int) -> Tensor:
    """Keys or values [heads, seen, width] of a slot, the prefix's first."""
    own = part[slot]
    return (own if before is None else torch.cat([before, own], 1))[:, first:stop]


@kinds
@pytest.mark.parametrize("window", [None, 1, 4, 30])
@pytest.mark.parametrize("start", [0, 9])
@pytest.mark.parametrize(("width", "group"), [(16, 3), (32, 13)])
def test_attention_is_softmax_over_what_a_row_may_see(
    width: int, group: int, start: int, window: int | None, dtype: torch.dtype
) -> None:
    heads, slots = 2, torch.tensor([0, 1, 1, 3])
    keys, values = torch.randn(2, 4, heads, 20, width, dtype=dtype)
    prefix = tuple(torch.randn(2, heads, start, width, dtype=dtype)) if start else None
    positions = start + torch.tensor([0, 3, 4, 19])
    query = 3 * torch.randn(4, heads * group, width, dtype=dtype)
    where = Where(slots, positions, start)
    found = attended(query, (keys, values), prefix, where, 0.3, window)  # type: ignore[arg-type]
    for row, (slot, position) in enumerate(zip(slots.tolist(), positions.tolist(), strict=True)):
        first = 0 if window is None else max(0, position + 1 - window)
        own = [
            seen(part, prefix and prefix[side], slot, first, position + 1)
            for side, part in enumerate((keys, values))
        ]
        scores = query[row].view(heads, group, width) @ own[0].transpose(1, 2) * 0.3
        close(found[row], (scores.softmax(-1) @ own[1]).flatten(0, 1))


@kinds
@pytest.mark.parametrize("normed", [True, False])
@pytest.mark.parametrize(("width", "group"), [(32, 3), (64, 1)])
def test_heads_are_normed_rotated_and_put_where_they_belong(
    width: int, group: int, normed: bool, dtype: torch.dtype
) -> None:
    kv_heads, start, slots = 2, 9, torch.tensor([0, 1, 1, 3])
    heads = group * kv_heads
    positions = start + torch.tensor([0, 3, 4, 19])
    by_head = torch.randn(4, heads + 2 * kv_heads, width, dtype=dtype)
    angles = Angles(*torch.randn(2, 4, 1, width, dtype=dtype))
    store = torch.zeros(2, 4, kv_heads, 25, width, dtype=dtype)
    own = (store[0, :, :, :20], store[1, :, :, :20])  # of a cache that has room for more
    norms = HeadNorms(torch.randn(heads + kv_heads, width, dtype=dtype), 1e-5) if normed else None
    assert places(by_head, angles, own, norms)
    query = placed(by_head, angles, own, Where(slots, positions, start), norms)

    expected = by_head[:, None, : heads + kv_heads]
    if norms is not None:
        expected = nn.functional.rms_norm(expected, (width,), None, norms.eps) * norms.weight
    expected = rotated(expected, *angles)[:, 0]
    close(query, expected[:, :heads])
    written = torch.zeros_like(store)
    for row, (slot, position) in enumerate(zip(slots, positions - start, strict=True)):
        written[0, slot, :, position] = expected[row, heads:]
        written[1, slot, :, position] = by_head[row, heads + kv_heads :]
    close(store, written)


def test_heads_that_loops_cannot_rotate_are_left_to_torch() -> None:
    by_head, store = torch.randn(2, 4, 64), torch.zeros(2, 1, 5, 64)
    whole, own = Angles(*torch.randn(2, 2, 1, 64)), (store, store)
    norms = HeadNorms(torch.randn(3, 64), 1e-5)
    assert places(by_head, whole, own, norms)
    assert not places(by_head, whole, own, HeadNorms(norms.weight.double(), 1e-5))
    assert not places(by_head, Angles(*torch.randn(2, 2, 1, 32)), own, None)  # of half a head
    assert not places(by_head, Angles(*torch.randn(2, 1, 1, 64)), own, None)
    assert not places(by_head, Angles(whole.cos.double(), whole.sin.double()), own, None)
    assert not places(by_head.transpose(0, 1), Angles(*torch.randn(2, 4, 1, 64)), own, None)
    assert not places(by_head, whole, (store[..., :32], store[..., :32]), None)
    narrow, angles = by_head[..., :8].contiguous(), Angles(*torch.randn(2, 2, 1, 8))
    assert not places(narrow, angles, (torch.zeros(2, 1, 5, 8), torch.zeros(2, 1, 5, 8)), None)


@pytest.mark.parametrize(("size", "registers"), [(32, 16), (64, 32)])
def test_registers_of_any_processor_compute_the_same(
    size: int, registers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As AVX2 and AVX-512 have them; LLVM makes two of each where there are none as wide."""
    for module in (compiler, compiled_rows, panel_product):
        monkeypatch.setattr(module, "lanes", lambda dtype: size // dtype.itemsize)
    for module, name in [
        (panel_product, "_compiled"),
        *((compiled_rows, name) for name in ("_norm", "_gate", "_add", "_attention", "_placed")),
    ]:
        monkeypatch.setattr(module, name, cache(getattr(module, name).__wrapped__))
    dtype = torch.float32
    for shape in SHAPES:
        test_products_are_those_of_a_linear_map(*shape, registers, dtype, monkeypatch)
    for width, group in [(16, 3), (32, 13)]:
        test_attention_is_softmax_over_what_a_row_may_see(width, group, 9, 4, dtype)
    for normed in (True, False):
        test_heads_are_normed_rotated_and_put_where_they_belong(64, 3, normed, dtype)
    test_norms_gates_and_sums_are_torch_s(dtype, monkeypatch)


@pytest.mark.parametrize(
    ("family", "dtype"),
    [("qwen3", torch.float64), ("qwen3", torch.float32), ("llama", torch.float64)],
)
def test_answers_are_those_of_torch_s_operations(
    family: str, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of qwen3's norms loops know those in float32: in float64 its authors' round."""
    hf: Any = tiny.transformer(family, dtype=dtype, head_dim=32)  # so that heads fill vectors
    decoding = {"sampler": "power", "alpha": 2.0, "max_new_tokens": 8, "blocks": 2, "steps": 2}
    calls = []
    for name in ("attended", "placed"):
        loop = getattr(compiled_rows, name)
        monkeypatch.setattr(
            f"powerblend.engine.attention.{name}",
            lambda *a, name=name, loop=loop: calls.append(name) or loop(*a),
        )
    ours = records(sample(load_model(hf), [[2, 0, 3], [2, 3]], decoding, samples=2))
    placing = (family, dtype) != ("qwen3", torch.float64)
    assert {*calls} == ({"attended", "placed"} if placing else {"attended"})
    assert not placing or calls.count("placed") == calls.count("attended")
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    theirs = records(sample(load_model(hf), [[2, 0, 3], [2, 3]], decoding, samples=2))
    if dtype == torch.float32:
        monkeypatch.setattr("equality.LOG_TOLERANCE", 1e-3)
    assert ours == nearly(theirs)
