"""Greedy decoding: the most likely token of the (perhaps blended) model, always."""

from typing import Literal

from torch import Tensor

from powerblend.engine import laws
from powerblend.engine.chain import Schedule
from powerblend.samplers.base import Sampler


class Greedy(Sampler):
    """argmax. ``log_t`` is the log-probability of the answer under the blended model."""

    sampler: Literal["greedy"]

    def schedule(self) -> Schedule:
        """One extension and no moves."""
        return Schedule(self.max_new_tokens)

    def draw(self, logits: laws.Logits, uniforms: Tensor, current: Tensor) -> laws.Draw:
        """The most likely token."""
        return laws.greedy(logits)
