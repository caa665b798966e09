"""Blending in the logits of an intermediate layer of the target itself."""

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from powerblend.blends.base import BlendModel, HiddenBlend

if TYPE_CHECKING:
    from torch import Tensor


class LayerBlend(HiddenBlend):
    """z_source = lm_head(h_layer): no extra parameters and no extra forward pass."""

    source: Literal["layer"] = "layer"
    layer: int = Field(
        ge=0,
        description="decoder block, counted from 0: transformers' hidden_states[layer + 1], except "
        "that the last block is taken before the final norm",
    )
    norm: Literal["none", "final"] = Field(
        default="none",
        description="none: the raw hidden state; final: after the model's final norm (logit lens)",
    )

    @property
    def layers_read(self) -> tuple[int, ...]:
        """The one layer."""
        return (self.layer,)

    def hidden(self, outputs: "tuple[Tensor, ...]", model: BlendModel) -> "Tensor":
        """The layer's output, normalised or not."""
        (hidden,) = outputs
        return model.normalise(hidden) if self.norm == "final" else hidden

    def check(self, num_layers: int) -> None:
        """Raise ValueError if the layer is not one of the model's."""
        if self.layer >= num_layers:
            raise ValueError(
                f"blend layer is {self.layer}, but the model has {num_layers} decoder blocks: "
                f"use 0 to {num_layers - 1}"
            )
