"""Blending in noise of the model's own size: a control for what a layer or a draft knows."""

from functools import lru_cache
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from powerblend.blends.base import BlendModel, HiddenBlend

if TYPE_CHECKING:
    from torch import Tensor, device

LAST = -1
"""The last decoder layer of any model; after the final norm its output is h_final."""


class RandomBlend(HiddenBlend):
    """z_source = lm_head(R h_final), R a fixed random signed permutation: it knows nothing.

    R is orthogonal, so R h_final is as long as h_final, and has its numbers; permuting and turning
    signs rounds nothing, so it is the same on every machine. A pure function of the prefix, hence
    as exact a target as any other.
    """

    source: Literal["random"] = "random"
    seed: int = Field(default=0, ge=0, lt=2**64, description="of the random rotation")

    @property
    def layers_read(self) -> tuple[int, ...]:
        """The last layer."""
        return (LAST,)

    def hidden(self, outputs: "tuple[Tensor, ...]", model: BlendModel) -> "Tensor":
        """The final hidden state with its numbers in another order and some signs turned."""
        final = model.normalise(outputs[0])
        order, signs = _rotation(self.seed, final.shape[-1], final.device)
        return final[..., order] * signs.to(final.dtype)

    def check(self, num_layers: int) -> None:
        """Every model has a last layer."""


@lru_cache(maxsize=8)
def _rotation(seed: int, width: int, where: "device") -> "tuple[Tensor, Tensor]":
    """An order of ``width`` numbers and a sign for each, from a counter-based generator's bits.

    Its bits are the same in every version of numpy, which what `Generator` makes of them need not
    be.
    """
    import numpy as np
    import torch

    bits = np.random.Philox(key=seed).random_raw(2 * width)
    order = np.argsort(bits[:width], kind="stable")
    signs = 1.0 - 2.0 * (bits[width:] >> np.uint64(63)).astype(np.float64)
    return torch.from_numpy(order).to(where), torch.from_numpy(signs).to(where)
