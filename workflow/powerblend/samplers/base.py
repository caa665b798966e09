"""What every sampler offers the engine."""

from abc import abstractmethod

from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from powerblend.blends import AnyBlend
from powerblend.engine.chain import Schedule
from powerblend.engine.laws import Draw, Logits


class Sampler(BaseModel):
    """A way of decoding: the law of one token, and the schedule of a chain of strings."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    max_new_tokens: int = Field(gt=0, description="longest answer, in tokens")
    blend: AnyBlend | None = Field(
        default=None, description="what the target mixes in; absent: the model alone"
    )

    @classmethod
    def keys(cls) -> set[str]:
        """What a condition with this sampler reads."""
        return set(cls.model_fields)

    @abstractmethod
    def schedule(self) -> Schedule:
        """Stages and moves."""

    @abstractmethod
    def draw(self, logits: Logits, uniforms: Tensor, current: Tensor) -> Draw:
        """One token per row, with its worth; a law of `engine.laws`."""
