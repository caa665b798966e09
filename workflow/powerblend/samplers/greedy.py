"""Greedy decoding: the most likely token of the (perhaps blended) model, always."""

from typing import TYPE_CHECKING, Literal

from powerblend.engine.chain import Schedule
from powerblend.samplers.base import Sampler, SamplerDescription

if TYPE_CHECKING:
    from torch import Tensor

    from powerblend.engine.distributions import Draw, Logits


class Greedy(Sampler):
    """argmax. ``log_t`` is the log-probability of the answer under the blended model."""

    sampler: Literal["greedy"]

    def schedule(self) -> Schedule:
        """One extension and no moves."""
        return Schedule(self.max_new_tokens)

    def draw(self, logits: "Logits", uniforms: "Tensor", current: "Tensor") -> "Draw":
        """The most likely token."""
        from powerblend.engine import distributions

        return distributions.greedy(logits)

    def describe(self) -> SamplerDescription:
        """It gives the same answer every time."""
        return SamplerDescription(
            role="greedy",
            title="greedy",
            how="argmax, token by token",
            sampling="argmax {p}",
            deterministic=True,
        )
