"""Power sampling: Metropolis-Hastings over answers, with target p^alpha or p_guided^alpha.

With cuts drawn by entropy, several tries at a cut, or a ladder of exponents, in any combination.
"""

import itertools
from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar, Literal, Self

from pydantic import Field, model_validator

from powerblend.engine.chain import Chain, Schedule
from powerblend.engine.endings import Ending
from powerblend.engine.ladder import Ladder
from powerblend.engine.randomness import Stream
from powerblend.engine.rounds import Rounds, Together
from powerblend.engine.strings import Law
from powerblend.engine.tries import TryingChain
from powerblend.samplers.base import MAX_COUNT, Exponent, Sampler, SamplerDescription

if TYPE_CHECKING:
    from torch import Tensor

    from powerblend.engine.distributions import Draw, Logits


MAX_CUT_POWER = 100.0
"""Of (entropy + 0.01)^gamma: neither it nor a sum over an answer leaves the range of numbers."""


class Power(Sampler):
    """Block-wise power sampling (Karan & Du, arXiv 2510.14901, Algorithm 1)."""

    short_name: ClassVar[str] = "ps"

    sampler: Literal["power"]
    alpha: Exponent = Field(description="exponent; T = 1 / alpha proposes")
    blocks: int = Field(default=16, gt=0, description="stages, each with a higher length cap")
    steps: int = Field(default=2, ge=0, le=MAX_COUNT, description="moves per stage")
    mh: Literal["exact", "published"] = Field(
        default="exact",
        description="published: the reference code's acceptance, for comparison; not exact",
    )
    proposal: Literal["base", "target"] = Field(
        default="base", description="propose from the model alone, or from the blended target"
    )

    cut: Literal["entropy"] | None = Field(
        default=None,
        description="entropy: cut where the next token was uncertain; absent: anywhere alike",
    )
    cut_power: float | None = Field(
        default=None,
        gt=0,
        le=MAX_CUT_POWER,
        allow_inf_nan=False,
        description="gamma of cut: entropy, whose chances are (entropy + 0.01)^gamma; absent: 1",
    )
    tries: int | None = Field(
        default=None,
        gt=0,
        le=MAX_COUNT,
        description="suffixes to choose among at each cut; absent: one, by MH",
    )
    ladder: tuple[Exponent, ...] | None = Field(
        default=None,
        min_length=1,
        description="exponents below alpha, rising, of strings that swap with their neighbours",
    )
    swaps: bool | None = Field(
        default=None, description="false: a ladder without swaps, for comparison"
    )

    @model_validator(mode="after")
    def _kernel_fits(self) -> Self:
        if self.mh == "published" and (self.cut or self.tries or self.ladder):
            raise ValueError("mh: published has uniform cuts, one try and one exponent; use exact")
        if self.cut_power is not None and self.cut is None:
            raise ValueError(f"cut_power is {self.cut_power:g} without a cut; give cut: entropy")
        if self.swaps is not None and self.ladder is None:
            raise ValueError(f"swaps is {self.swaps} without a ladder; give its exponents")
        rungs = [*(self.ladder or ()), self.alpha]
        if any(low >= high for low, high in itertools.pairwise(rungs)):
            raise ValueError(
                f"ladder is {list(rungs[:-1])} below alpha {self.alpha:g}: the exponents must rise"
            )
        return self

    @model_validator(mode="after")
    def _blocks_divide(self) -> Self:
        if self.max_new_tokens % self.blocks:
            raise ValueError(
                f"blocks is {self.blocks}, which does not divide max_new_tokens "
                f"{self.max_new_tokens}"
            )
        return self

    @property
    def exponents(self) -> tuple[float, ...]:
        """Those whose normalisers a string keeps: none where it is read at one and cut anywhere."""
        return (*(self.ladder or ()), self.alpha) if self.ladder or self.cut else ()

    @property
    def exponent_columns(self) -> int:
        """Two, and one or two of each exponent."""
        count = len(self.exponents)
        return (2 + count * (2 if self.cut else 1)) if count else 0

    @property
    def strings(self) -> int:
        """Every try of every rung."""
        return (self.tries or 1) * (1 + len(self.ladder or ()))

    def answer(self, stream: Stream, ending: Ending) -> Chain | Rounds:
        """A chain; one with several proposals a move; or a ladder of either."""
        if not self.ladder:
            chain = self._chain(max(0, len(self.exponents) - 1), stream, ending)
            return Together([chain]) if self.tries else chain
        top = len(self.ladder)
        # The top rung has the numbers of a chain without a ladder.
        chains = [self._chain(k, stream.of(string=top - k), ending) for k in range(top + 1)]
        return Ladder(chains, stream, self.swaps is not False)

    def _chain(self, rung: int, stream: Stream, ending: Ending) -> Chain:
        law = Law(self.exponents, rung, self._cut_power, self._one_distribution)
        if self.tries:
            return TryingChain(self.schedule(), stream, ending, self.tries, law)
        return Chain(self.schedule(), stream, ending, law)

    @property
    def _cut_power(self) -> float | None:
        return (self.cut_power or 1.0) if self.cut else None

    @property
    def _one_distribution(self) -> bool:
        """Whether target and proposal are powers of one: then no log weight is positive."""
        return self.blend is None or self.proposal == "target"

    def schedule(self) -> Schedule:
        """``blocks`` stages of ``steps`` moves."""
        # The published acceptance cuts the current sum at the proposal's length: its r may rise.
        early = self._one_distribution and self.mh == "exact"
        return Schedule(self.max_new_tokens, self.blocks, self.steps, self.mh, early=early)

    def draw(self, logits: "Logits", uniforms: "Tensor", current: "Tensor") -> "Draw":
        """A token from q, weighted by the target."""
        from powerblend.engine import distributions

        return distributions.power(logits, uniforms, current, self.alpha, self.proposal)

    def draw_rungs(
        self, logits: "Logits", uniforms: "Tensor", current: "Tensor", rung: "Tensor"
    ) -> "Draw":
        """The same, with what it is worth at every exponent where strings keep that."""
        from powerblend.engine import distributions

        if not self.exponents:
            return self.draw(logits, uniforms, current)
        return distributions.powers(
            *(logits, uniforms, current, rung), self.exponents, self.proposal, self._cut_power
        )

    def describe(self) -> SamplerDescription:
        """A chain towards p^alpha; with no moves, its proposal alone."""
        if not self.steps:
            return self._proposal_alone()
        return SamplerDescription(
            role="power",
            title="power sampling",
            how="Metropolis–Hastings\nover whole answers, p^α",
            sampling=", ".join(
                [f"Metropolis–Hastings towards {{p}}^α, α = {self.alpha:g}", *self._refinements()]
            ),
            chain=self.chain_description(),
        )

    def _proposal_alone(self) -> SamplerDescription:
        temperature = f"{1 / self.alpha:g}"
        return SamplerDescription(
            role="temperature",
            title="temperature",
            how="a draw per token\nfrom softmax(z / T)",
            sampling=f"a draw per token at T = {temperature}: power sampling without moves",
        )

    def _refinements(self) -> Iterator[str]:
        """What its moves have that plain power sampling has not."""
        if self.cut:
            yield f"cuts by entropy to the power {self._cut_power:g}"
        if self.tries:
            yield f"a choice among {self.tries} tries and the current answer"
        if self.ladder:
            rungs = ", ".join(f"{exponent:g}" for exponent in self.ladder)
            yield f"a ladder from {rungs}, {'with' if self.swaps is not False else 'without'} swaps"
