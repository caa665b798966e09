"""Sequential Monte Carlo towards p^alpha: particles, and with several sweeps its exact form."""

from typing import TYPE_CHECKING, Literal, Self

from pydantic import Field, model_validator

from powerblend.engine.chain import Schedule
from powerblend.engine.endings import Ending
from powerblend.engine.particles import Particles
from powerblend.engine.randomness import Stream
from powerblend.samplers.base import (
    MAX_COUNT,
    ChainDescription,
    Exponent,
    Sampler,
    SamplerDescription,
)

if TYPE_CHECKING:
    from torch import Tensor

    from powerblend.engine.distributions import Draw, Logits


class ParticleSampler(Sampler):
    """Strings that grow together and are resampled by their weights (arXiv 2602.10273).

    One sweep is consistent as the number of particles grows, and exact for none. With further
    sweeps, each of which keeps the last one's string as one path, it is conditional SMC, which
    leaves the target invariant (Andrieu, Doucet & Holenstein, JRSS B 2010).
    """

    sampler: Literal["particles"]
    alpha: Exponent = Field(description="exponent; T = 1 / alpha proposes")
    particles: int = Field(default=8, ge=2, le=MAX_COUNT, description="strings that grow together")
    blocks: int = Field(default=16, gt=0, description="caps at which they may be resampled")
    sweeps: int = Field(
        default=1,
        gt=0,
        le=MAX_COUNT,
        description="times to grow them, from the second on with one path kept",
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
        """One stage; its moves are the sweeps that keep a path."""
        return Schedule(self.max_new_tokens, steps=self.sweeps - 1)

    @property
    def strings(self) -> int:
        """The particles."""
        return self.particles

    def answer(self, stream: Stream, ending: Ending) -> Particles:
        """The particles of one answer."""
        block = self.max_new_tokens // self.blocks
        caps = range(block, self.max_new_tokens + 1, block)
        return Particles(caps, self.particles, self.sweeps, stream, ending)

    def draw(self, logits: "Logits", uniforms: "Tensor", current: "Tensor") -> "Draw":
        """A token from q, weighted by the target."""
        from powerblend.engine import distributions

        return distributions.power(logits, uniforms, current, self.alpha, self.proposal)

    def describe(self) -> SamplerDescription:
        """What it draws, and whether it is exact or only consistent."""
        many = f"{self.particles} particles"
        if self.sweeps == 1:
            how = f"{many}, resampled by weight\nat the ends of {self.blocks} blocks"
            sampling = f"{many} towards {{p}}^α, α = {self.alpha:g}: consistent in their number"
        else:
            how = f"{many} a sweep,\none path kept from the last"
            sampling = f"conditional SMC towards {{p}}^α, α = {self.alpha:g}, {many}"
        return SamplerDescription(
            role="particles",
            title="particles" if self.sweeps == 1 else "conditional particles",
            how=how,
            sampling=sampling,
            chain=self.chain_description(),
        )

    def chain_description(self) -> ChainDescription | None:
        """Sweeps are its moves; one alone is no chain."""
        if self.sweeps == 1:
            return None
        return ChainDescription(
            blocks=1,
            steps=self.sweeps - 1,
            acceptance="exact",
            exact=True,
            proposal=self.proposal,
        )
