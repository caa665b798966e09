"""What every sampler offers the engine and the report."""

from abc import abstractmethod
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from powerblend.blends import AnyBlend
from powerblend.engine.chain import Chain, Schedule
from powerblend.engine.endings import Ending
from powerblend.engine.randomness import Stream
from powerblend.engine.rounds import Rounds

if TYPE_CHECKING:
    # A configuration names samplers and draws nothing: it does not wait for torch to be imported.
    from torch import Tensor

    from powerblend.engine.distributions import Draw, Logits


class ChainDescription(BaseModel):
    """The Metropolis-Hastings chain of a sampler, as the report speaks of it.

    Attributes
    ----------
    blocks, steps
        Stages of the chain, and moves in each.
    acceptance
        The rule by which a proposal is accepted: ``exact``, or the name of one that is not.
    exact
        Whether the moves leave the target invariant.
    proposal
        Where proposals come from: the model alone (``base``) or the blended ``target``.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    blocks: int
    steps: int
    acceptance: str
    exact: bool
    proposal: Literal["base", "target"]


class SamplerDescription(BaseModel):
    """What a sampler says of itself: whoever reports on it needs to know no sampler by name.

    Attributes
    ----------
    role
        What it is in the words of ``resources/published.yaml``: ``greedy``, ``base`` (ordinary
        sampling, T = 1), ``temperature``, ``power``, or the sampler's own name.
    title
        Its name in a heading, as ``power sampling``.
    how
        How it draws, in a line or two of a figure.
    sampling
        What it draws from and how, for a table; ``{p}`` stands for the distribution's name.
    deterministic
        Whether every sample of a problem is the same.
    chain
        Its chain; None where each token is drawn once and kept.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    role: str
    title: str
    how: str
    sampling: str
    deterministic: bool = False
    chain: ChainDescription | None = None


MAX_EXPONENT = 1e9
"""Powers up to this one, times logits and sums over answers, stay numbers; higher is greedy."""

MAX_COUNT = 10**9
"""Of tokens, moves, strings: more than any machine has time or memory for."""

Exponent = Annotated[float, Field(ge=1, le=MAX_EXPONENT, allow_inf_nan=False)]
"""What raises a distribution to a power, as alpha."""


class Sampler(BaseModel):
    """A way of decoding: the distribution of one token, and the schedule of a chain of strings."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    short_name: ClassVar[str] = ""
    """What paths call it, as ``ps``; by default its name in the registry."""

    max_new_tokens: int = Field(gt=0, le=MAX_COUNT, description="longest answer, in tokens")
    blend: AnyBlend | None = Field(
        default=None, description="what the target mixes in; absent: the model alone"
    )

    stop: tuple[Annotated[str, Field(min_length=1)], ...] | None = Field(
        default=None,
        min_length=1,
        description="strings of which the first that an answer holds ends it, as EOS does; the "
        "text is what comes before",
    )

    token_values: bool | None = Field(
        default=None,
        description="true: records hold each token's log p and how sure the model was of it",
    )
    move_values: bool | None = Field(
        default=None,
        description="true: records hold the answer's log p after each move of the last block",
    )

    @classmethod
    def keys(cls) -> set[str]:
        """What a condition with this sampler reads."""
        return set(cls.model_fields)

    @property
    def name(self) -> str:
        """Its name in the registry: the value of the key ``sampler``."""
        return str(getattr(self, "sampler", type(self).__name__.lower()))

    @abstractmethod
    def schedule(self) -> Schedule:
        """Stages and moves."""

    @abstractmethod
    def draw(self, logits: "Logits", uniforms: "Tensor", current: "Tensor") -> "Draw":
        """One token per row, with its log-probabilities; see `engine.distributions`."""

    def draw_rungs(
        self, logits: "Logits", uniforms: "Tensor", current: "Tensor", rung: "Tensor"
    ) -> "Draw":
        """The same where an answer's strings are of several exponents, ``rung`` [rows] theirs."""
        return self.draw(logits, uniforms, current)

    def matched(self, beta: float) -> Self:
        """The same with the beta that the probe found for its blend.

        Without a blend, with its exponent times 1 - beta: as if it blended in the uniform
        distribution.

        Raises
        ------
        ValueError
            If the exponent that comes out is none that the sampler can have.
        """
        if self.blend is not None:
            return self.model_copy(update={"blend": self.blend.model_copy(update={"beta": beta})})
        settings = self.model_dump(exclude_none=True)
        alpha = float(f"{settings['alpha'] * (1 - beta):.6g}")
        return type(self).model_validate(settings | {"alpha": alpha})

    @property
    def strings(self) -> int:
        """How many rows an answer can use at once."""
        return 1

    @property
    def exponent_columns(self) -> int:
        """How many numbers a token has beside its log-probabilities; see `engine.strings`."""
        return 0

    @property
    def columns(self) -> int:
        """Those, and what the records of tokens need."""
        return self.exponent_columns + (2 if self.token_values else 0)

    def draw_rows(
        self, logits: "Logits", uniforms: "Tensor", current: "Tensor", rung: "Tensor"
    ) -> "Draw":
        """What the loop draws: `draw_rungs`, with what the records of tokens need."""
        from powerblend.engine import distributions

        draw = self.draw_rungs(logits, uniforms, current, rung)
        return distributions.measured(draw, logits) if self.token_values else draw

    def answer(self, stream: Stream, ending: Ending) -> "Chain | Rounds":
        """A new answer, with its random numbers: by default one chain."""
        return Chain(self.schedule(), stream, ending)

    def describe(self) -> SamplerDescription:
        """What the report says of it; from its schedule, unless a sampler says more."""
        title = self.name.replace("_", " ")
        chain = self.chain_description()
        if chain is None:
            how, sampling = "a draw per token", f"{title}: a draw per token from {{p}}"
        else:
            how = "Metropolis–Hastings\nover whole answers"
            sampling = f"{title}: Metropolis–Hastings over answers of {{p}}"
        return SamplerDescription(
            role=self.name, title=title, how=how, sampling=sampling, chain=chain
        )

    def chain_description(self) -> ChainDescription | None:
        """Its chain as its schedule has it; None where the schedule has no moves."""
        schedule = self.schedule()
        if not schedule.steps:
            return None
        proposal: Any = getattr(self, "proposal", "base")
        return ChainDescription(
            blocks=schedule.blocks,
            steps=schedule.steps,
            acceptance=schedule.mh,
            exact=schedule.mh == "exact",
            proposal=proposal,
        )
