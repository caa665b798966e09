"""What every blend source offers the engine."""

from abc import abstractmethod
from typing import TYPE_CHECKING, Protocol

from pydantic import BaseModel, ConfigDict, Field

if TYPE_CHECKING:
    # A configuration names blends and mixes nothing: it does not wait for torch.
    from torch import Tensor


class BlendModel(Protocol):
    """What a blend source may ask of the model it blends."""

    num_layers: int

    def normalise(self, hidden: "Tensor") -> "Tensor":
        """The model's final norm."""


MAX_WEIGHT = 1000.0
"""Logits times this are numbers in half precision too."""


class Blend(BaseModel):
    """z_guided = (1 - beta) z_final + beta z_source, both through the model's ``lm_head``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    beta: float = Field(
        ge=-MAX_WEIGHT,
        le=MAX_WEIGHT,
        allow_inf_nan=False,
        description="weight of the source's logits; negative sharpens",
    )

    @abstractmethod
    def check(self, num_layers: int) -> None:
        """Raise ValueError if a model of ``num_layers`` decoder layers has no such source."""

    def mix(self, final: "Tensor", source: "Tensor") -> "Tensor":
        """The guided logits, in the precision of the logits given."""
        return final.lerp(source, self.beta)


class HiddenBlend(Blend):
    """A source that is a function of the target's own hidden states at the same token."""

    @property
    @abstractmethod
    def layers_read(self) -> tuple[int, ...]:
        """Decoder layers, counted from 0, whose outputs the source reads."""

    @abstractmethod
    def hidden(self, outputs: "tuple[Tensor, ...]", model: BlendModel) -> "Tensor":
        """The hidden states [rows, hidden] that ``lm_head`` turns into the source's logits.

        ``outputs`` [rows, hidden] each are those of `layers_read`, from the same forward pass as
        the final hidden states.
        """
