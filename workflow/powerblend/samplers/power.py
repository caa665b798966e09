"""Power sampling: Metropolis-Hastings over answers, with target p^alpha or p_guided^alpha."""

from typing import TYPE_CHECKING, ClassVar, Literal, Self

from pydantic import Field, model_validator

from powerblend.engine.chain import Schedule
from powerblend.samplers.base import Sampler, SamplerDescription

if TYPE_CHECKING:
    from torch import Tensor

    from powerblend.engine.distributions import Draw, Logits


class Power(Sampler):
    """Block-wise power sampling (Karan & Du, arXiv 2510.14901, Algorithm 1)."""

    short_name: ClassVar[str] = "ps"

    sampler: Literal["power"]
    alpha: float = Field(ge=1, allow_inf_nan=False, description="exponent; T = 1 / alpha proposes")
    blocks: int = Field(default=16, gt=0, description="stages, each with a higher length cap")
    steps: int = Field(default=2, ge=0, description="moves per stage")
    mh: Literal["exact", "published"] = Field(
        default="exact",
        description="published: the reference code's acceptance, for comparison; not exact",
    )
    proposal: Literal["base", "target"] = Field(
        default="base", description="propose from the model alone, or from the blended target"
    )

    @model_validator(mode="after")
    def _blocks_divide(self) -> Self:
        if self.max_new_tokens % self.blocks:
            raise ValueError(
                f"blocks is {self.blocks}, which does not divide max_new_tokens "
                f"{self.max_new_tokens}"
            )
        return self

    def schedule(self) -> Schedule:
        """``blocks`` stages of ``steps`` moves."""
        # Where target and proposal are powers of one distribution, no log weight is positive. The
        # published acceptance cuts the current sum at the proposal's length: its r may rise again.
        one_distribution = self.blend is None or self.proposal == "target"
        early = one_distribution and self.mh == "exact"
        return Schedule(self.max_new_tokens, self.blocks, self.steps, self.mh, early=early)

    def draw(self, logits: "Logits", uniforms: "Tensor", current: "Tensor") -> "Draw":
        """A token from q, weighted by the target."""
        from powerblend.engine import distributions

        return distributions.power(logits, uniforms, current, self.alpha, self.proposal)

    def describe(self) -> SamplerDescription:
        """A chain towards p^alpha; with no moves, its proposal alone."""
        return SamplerDescription(
            role="power",
            title="power sampling",
            how="Metropolis–Hastings\nover whole answers, p^α",
            sampling=f"Metropolis–Hastings towards {{p}}^α, α = {self.alpha:g}",
            chain=self.chain_description(),
        )
