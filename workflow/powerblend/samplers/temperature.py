"""Sampling at a temperature: softmax(z / T), token by token, with full support."""

import math
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, model_validator

from powerblend.engine.chain import Schedule
from powerblend.samplers.base import MAX_EXPONENT, Sampler, SamplerDescription

if TYPE_CHECKING:
    from torch import Tensor

    from powerblend.engine.distributions import Draw, Logits


class Temperature(Sampler):
    """The proposal of power sampling on its own. ``log_t`` is the answer's log q."""

    short_name: ClassVar[str] = "temp"

    sampler: Literal["temperature"]
    temperature: float = Field(
        ge=1 / MAX_EXPONENT,
        le=MAX_EXPONENT,
        allow_inf_nan=False,
        description="T; where it is absent, 1 / alpha",
    )

    @classmethod
    def keys(cls) -> set[str]:
        """Its fields, and alpha."""
        return super().keys() | {"alpha"}

    @model_validator(mode="before")
    @classmethod
    def _from_alpha(cls, data: dict[str, Any]) -> dict[str, Any]:
        if "alpha" not in data:
            if "temperature" not in data:
                raise ValueError("temperature is missing; give it, or alpha, which is 1 / T")
            return data
        data = dict(data)
        alpha = data.pop("alpha")
        if "temperature" not in data:
            data["temperature"] = _inverse(alpha)
        return data

    def schedule(self) -> Schedule:
        """One extension and no moves."""
        return Schedule(self.max_new_tokens)

    def draw(self, logits: "Logits", uniforms: "Tensor", current: "Tensor") -> "Draw":
        """A token from softmax(z / T)."""
        from powerblend.engine import distributions

        return distributions.temperature(logits, uniforms, current, self.temperature)

    def describe(self) -> SamplerDescription:
        """Ordinary sampling at T = 1 is a role of its own."""
        return SamplerDescription(
            role="base" if self.temperature == 1 else "temperature",
            title="temperature",
            how="a draw per token\nfrom softmax(z / T)",
            sampling=f"a draw per token at T = {self.temperature:g}",
        )


def _inverse(alpha: Any) -> float:
    try:
        temperature = 1.0 / float(alpha)
    except (TypeError, ValueError, OverflowError, ZeroDivisionError):
        temperature = math.nan
    if not 1 / MAX_EXPONENT <= temperature <= MAX_EXPONENT:
        allowed = f"a number from {1 / MAX_EXPONENT:g} to {MAX_EXPONENT:g}"
        raise ValueError(f"alpha is {alpha!r}; use {allowed}")
    return temperature
