"""Tiled weights compute what torch's own linear maps compute."""

import pytest
import torch
from torch import nn

from powerblend.engine import tiled_linear
from powerblend.engine.tiled_linear import Tiled, tiled

OUTPUTS = (1, 15, 16, 48, 49, 96, 97, 1000)
SHAPES: list[tuple[int, ...]] = [(5,), (1, 5), (3, 5), (2, 3, 5)]


@pytest.fixture(autouse=True)
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tiles so narrow that small maps have several, as where there are several threads."""
    monkeypatch.setattr(tiled_linear, "TILE_OUTPUTS", 32)
    monkeypatch.setattr(tiled_linear, "serves", lambda _: False)


def linear(outputs: int, bias: bool = False) -> nn.Linear:
    torch.manual_seed(outputs)
    return nn.Linear(5, outputs, bias=bias, dtype=torch.float64)


@pytest.mark.parametrize("outputs", OUTPUTS)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("bias", [True, False])
def test_products_are_those_of_a_linear_map(
    outputs: int, shape: tuple[int, ...], bias: bool
) -> None:
    whole, inputs = linear(outputs, bias), torch.randn(shape, dtype=torch.float64)
    parts = Tiled(whole)
    torch.testing.assert_close(parts(inputs), whole(inputs), rtol=1e-12, atol=1e-12)
    transposed = torch.randn(*shape[::-1], dtype=torch.float64).permute(*range(len(shape))[::-1])
    torch.testing.assert_close(parts(transposed), whole(transposed), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("outputs", OUTPUTS)
def test_gradients_reach_the_inputs(outputs: int) -> None:
    whole, inputs = linear(outputs), torch.randn(3, 5, dtype=torch.float64, requires_grad=True)
    ours, theirs = (
        torch.autograd.grad(layer(inputs).square().sum(), inputs)[0]
        for layer in (Tiled(whole), whole)
    )
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("outputs", OUTPUTS)
def test_weights_are_saved_as_a_linear_map_s(outputs: int) -> None:
    whole = nn.Sequential(linear(outputs, bias=True))
    saved = {name: weight.clone() for name, weight in whole.state_dict().items()}
    parts = tiled(whole)
    assert isinstance(parts[0], Tiled)
    assert saved.keys() == parts.state_dict().keys()
    for name, weight in parts.state_dict().items():
        assert torch.equal(weight, saved[name])


def test_a_map_of_many_outputs_has_many_tiles() -> None:
    assert [len(Tiled(linear(n))._tiles) for n in (32, 48, 96, 1000)] == [1, 2, 3, 21]
