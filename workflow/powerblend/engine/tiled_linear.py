"""Linear maps of few rows at a time on the CPU, their weights stored as they are read.

    weight [outputs, inputs]   ->   tiles, each [inputs, up to `TILE_OUTPUTS` outputs]

A product of 8 to 128 rows reads a tile from its first byte to its last; in the usual layout, and in
its transpose, every step along the inputs or the outputs lands on another page of memory. On one
core they are stored as `panel_product` reads them, whose code is faster still. Measured with
benchmarks/products.py.
"""

from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from powerblend.engine.compiled_rows import added
from powerblend.engine.compiler import serves
from powerblend.engine.panel_product import Panels

TILE_OUTPUTS = 768
"""Outputs of a tile, about."""

Network = TypeVar("Network", bound=nn.Module)


class _Rearranged(nn.Module):
    """A linear map whose weight lies otherwise in memory, and is saved as it was."""

    weight: Any

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        destination[f"{prefix}weight"] = self.weight


class Tiled(_Rearranged):
    """A linear map that computes what an ``nn.Linear`` computes; its weights are frozen."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        tiles = linear.weight.detach().t().split(_outputs_per_tile(self.out_features), dim=1)
        # A tile's outputs lie side by side, input after input.
        self._tiles = [t.clone(memory_format=torch.contiguous_format) for t in tiles]
        self._widths = [tile.shape[1] for tile in self._tiles]
        self.bias = linear.bias

    @property
    def weight(self) -> Tensor:
        """[out_features, in_features], put together again."""
        return torch.cat(self._tiles, 1).t()

    def forward(self, inputs: Tensor) -> Tensor:
        """[..., in_features] to [..., out_features]."""
        rows = inputs.reshape(-1, self.in_features)
        if len(self._tiles) == 1 or (torch.is_grad_enabled() and inputs.requires_grad):
            products = [rows @ tile for tile in self._tiles]
            outputs = products[0] if len(products) == 1 else torch.cat(products, 1)
        else:
            outputs = rows.new_empty(len(rows), self.out_features)
            parts = outputs.split_with_sizes(self._widths, 1)
            for tile, part in zip(self._tiles, parts, strict=True):
                torch.mm(rows, tile, out=part)
        if self.bias is not None:
            outputs = outputs + self.bias
        return outputs.view(*inputs.shape[:-1], self.out_features)


class Panelled(_Rearranged):
    """The same, its products by `panel_product`."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self._panels = Panels.of(linear.weight.detach())
        self.bias = linear.bias

    @property
    def weight(self) -> Tensor:
        """[out_features, in_features], put together again."""
        return self._panels.weight

    def forward(self, inputs: Tensor) -> Tensor:
        """[..., in_features] to [..., out_features]."""
        rows = inputs.reshape(-1, self.in_features)
        if torch.is_grad_enabled() and inputs.requires_grad:
            outputs: Tensor = _Differentiable.apply(rows, self._panels)
        else:
            outputs = self._panels.product(rows)
        if self.bias is not None:
            outputs = added(outputs, self.bias)
        return outputs.view(*inputs.shape[:-1], self.out_features)


class _Differentiable(torch.autograd.Function):
    """A product whose rows' gradient is known: that of the outputs with the weight."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, panels: Panels) -> Tensor:
        ctx.panels = panels
        return panels.product(rows)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return gradients[0] @ ctx.panels.weight, None


def tiled(network: Network) -> Network:
    """Replace a network's linear maps, where their weights are on the CPU.

    Only what is exactly torch's: a subclass, as of quantised maps, may compute otherwise.
    An ``lm_head`` that was tied to the embedding, which is read token by token, becomes a copy.
    """
    for module in network.modules():
        for name, child in module.named_children():
            if type(child) is nn.Linear and child.weight.device.type == "cpu":
                kind = Panelled if serves(child.weight) else Tiled
                setattr(module, name, kind(child))
    return network


def _outputs_per_tile(outputs: int) -> int:
    """Of tiles of nearly the same size: a multiple of 16 numbers, a cache line or two."""
    tiles = max(1, round(outputs / TILE_OUTPUTS))
    return -(-outputs // (16 * tiles)) * 16
