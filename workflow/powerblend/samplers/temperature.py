"""Sampling at a temperature: softmax(z / T), token by token, with full support."""

from typing import Any, Literal

from pydantic import Field, model_validator
from torch import Tensor

from powerblend.engine import laws
from powerblend.engine.chain import Schedule
from powerblend.samplers.base import Sampler


class Temperature(Sampler):
    """The proposal of power sampling on its own. ``log_t`` is the answer's log q."""

    sampler: Literal["temperature"]
    temperature: float = Field(
        gt=0, allow_inf_nan=False, description="T; or give alpha, which is 1 / T"
    )

    @model_validator(mode="before")
    @classmethod
    def _from_alpha(cls, data: Any) -> Any:
        if not isinstance(data, dict) or "alpha" not in data:
            return data
        if "temperature" in data:
            raise ValueError("give temperature or alpha (= 1 / temperature), not both")
        alpha = data["alpha"]
        try:
            temperature = 1.0 / float(alpha)
        except (TypeError, ValueError, ZeroDivisionError):
            raise ValueError(f"alpha is {alpha!r}; use a number above 0") from None
        return {k: v for k, v in data.items() if k != "alpha"} | {"temperature": temperature}

    def schedule(self) -> Schedule:
        """One extension and no moves."""
        return Schedule(self.max_new_tokens)

    def draw(self, logits: laws.Logits, uniforms: Tensor, current: Tensor) -> laws.Draw:
        """A token from softmax(z / T)."""
        return laws.temperature(logits, uniforms, current, self.temperature)
