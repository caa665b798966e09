"""Blending in the uniform distribution: a control for what a blend does as another temperature."""

from typing import TYPE_CHECKING, Literal

from powerblend.blends.base import BlendModel, HiddenBlend
from powerblend.blends.random import LAST

if TYPE_CHECKING:
    from torch import Tensor


class UniformBlend(HiddenBlend):
    """z_source = 0, all tokens alike: (1 - beta) z_final, softmax at the temperature 1/(1 - beta).

    A negative beta sharpens, to the exponent 1 - beta of the model's own distribution.
    """

    source: Literal["uniform"] = "uniform"

    @property
    def layers_read(self) -> tuple[int, ...]:
        """The last layer, for the shape alone."""
        return (LAST,)

    def hidden(self, outputs: "tuple[Tensor, ...]", model: BlendModel) -> "Tensor":
        """Zeros, which ``lm_head`` leaves zeros."""
        import torch

        return torch.zeros_like(outputs[0])

    def check(self, num_layers: int) -> None:
        """Every model has a last layer."""
