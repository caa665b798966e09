"""The summary of a study: every number that its figures and its report show.

The type of ``results/STUDY/tables/summary.json``. Shares are in [0, 1]; a value that is not defined
is None. Knows no statistic, no figure and no prose: `powerblend.analysis` computes it.
"""

from typing import Literal

from pydantic import JsonValue

from powerblend.samplers.base import ChainDescription, SamplerDescription
from powerblend.vocabulary.frozen import Frozen
from powerblend.vocabulary.measurements import (
    BlendSettings,
    MeasuredBlend,
    ProbeMeasurements,
    Settings,
    TrainingReport,
)

Verdict = Literal["significant", "equivalent", "suggestive", "within noise"]


class Condition(Settings):
    """What a condition sets, and what its sampler says of itself.

    Only some samplers may have a setting, as ``temperature``.
    """

    sampler: str
    max_new_tokens: int
    alpha: float | None = None
    blend: BlendSettings | None = None
    description: SamplerDescription

    @property
    def chain(self) -> ChainDescription | None:
        """Its Metropolis-Hastings chain, if it runs one."""
        return self.description.chain

    @property
    def settings(self) -> dict[str, JsonValue]:
        """All that it sets, and all that its blend sets, by key."""
        own = self.model_dump(exclude={"blend", "description"}, exclude_none=True)
        return own | (self.blend.model_dump(exclude_none=True) if self.blend else {})


class ConditionAccuracy(Frozen):
    """Right answers of a condition, and their share with its Wilson score interval."""

    condition: str
    correct: int
    total: int
    accuracy: float
    low: float
    high: float


class ConditionResult(ConditionAccuracy):
    """A condition over all problems.

    Attributes
    ----------
    second_correct, second_accuracy
        The second grader's, over the same answers; None where it was not asked.
    disagreements
        Answers on which both graders have a verdict and differ.
    tokens, decoded_tokens, seconds
        Means per answer; rejected work is among the decoded tokens.
    acceptance, unchanged, early_rejected
        Shares of the moves; None where there are none.
    truncated, unboxed
        Shares of answers that were cut off, and that have no answer to grade.
    """

    second_correct: int | None
    second_accuracy: float | None
    disagreements: int
    tokens: float
    decoded_tokens: float
    seconds: float
    acceptance: float | None
    unchanged: float | None
    early_rejected: float | None
    truncated: float
    unboxed: float


class ContrastResult(Frozen):
    """A declared comparison: the accuracies of ``plus`` less those of ``minus``.

    Attributes
    ----------
    low, high
        Interval of the difference.
    p, p_holm
        That the two differ, before and after Holm's adjustment over all contrasts.
    p_equivalence, p_equivalence_holm
        That they differ by less than ``margin``, a share: before and after the same adjustment.
    detectable
        The smallest difference that a study of this size finds at p < 0.05 with a chance of 80%;
        None where it finds none, or where nothing tells how far differences vary.
    b, c
        Problems that only the first, and only the second, condition solves; None for an interaction
        and for several samples.
    verdict
        What the adjusted p-values may be called.
    """

    name: str
    kind: Literal["difference", "interaction"]
    plus: tuple[str, ...]
    minus: tuple[str, ...]
    difference: float
    low: float
    high: float
    p: float
    detectable: float | None
    b: int | None
    c: int | None
    p_holm: float
    margin: float
    p_equivalence: float
    p_equivalence_holm: float
    verdict: Verdict


class ConditionDifficulty(Frozen):
    """Right answers of a condition on easy and on hard problems."""

    condition: str
    easy_correct: int
    easy_total: int
    easy_accuracy: float | None
    hard_correct: int
    hard_total: int
    hard_accuracy: float | None


class Difficulty(Frozen):
    """Problems split by whether the first answer of the ``reference`` condition solves them.

    ``easy`` and ``hard`` count problems.
    """

    reference: str
    easy: int
    hard: int
    rows: tuple[ConditionDifficulty, ...]


class LevelAccuracy(ConditionAccuracy):
    """On the problems of a level."""

    level: int


class SubjectAccuracy(ConditionAccuracy):
    """On the problems of a subject."""

    subject: str


class Overlap(Frozen):
    """How many problems two conditions ``a`` and ``b`` solve, and which ones only one of them."""

    a: str
    b: str
    both: int
    only_a: int
    only_b: int
    neither: int
    only_a_ids: tuple[str, ...]
    only_b_ids: tuple[str, ...]


class ValueAtK(Frozen):
    """What k samples of a problem come to."""

    k: int
    value: float


class SeveralSamples(Frozen):
    """A condition that answered each problem several times.

    ``mean`` is the accuracy over all samples, ``se`` its standard error over draws of the samples,
    the problems being the same: 0 where every draw is the same. The others are accuracies of a
    choice among k samples: any right one, the majority's, the most likely one's.
    """

    condition: str
    mean: float
    se: float
    pass_at: tuple[ValueAtK, ...]
    majority_at: tuple[ValueAtK, ...]
    best_of: tuple[ValueAtK, ...]


class SeedAccuracy(ConditionAccuracy):
    """Over the answers of one seed."""

    seed: int


Method = Literal["single", "majority", "best_of"]


class ComputePoint(Frozen):
    """The accuracy of k answers of a condition, and the tokens decoded per problem for them."""

    label: str
    condition: str
    method: Method
    k: int
    decoded_tokens: float
    accuracy: float


Choice = Literal["majority", "best_of"]
Cost = Literal["tokens", "seconds"]


class MatchedCompute(Frozen):
    """A chain beside a choice among the samples that an answer of it would pay for.

    ``bought`` samples of the condition ``sampling`` cost what one answer of ``chain`` does, in
    decoded tokens or in seconds; the choice is among ``k``, which is fewer where fewer were drawn.
    Between whole numbers, its accuracy ``chosen`` is interpolated.
    """

    chain: str
    sampling: str
    cost: Cost
    choice: Choice
    bought: float
    k: float
    accuracy: float
    chosen: float
    difference: float
    low: float
    high: float


class ChainProgress(Frozen):
    """Acceptance in each block of a condition's chains, and log target per token at its end.

    Lengths at the end of a block are not recorded: see `powerblend.analysis.chains`.
    """

    condition: str
    acceptance_by_block: tuple[float, ...]
    log_t_per_token_by_block: tuple[float, ...]


class Movement(Frozen):
    """What the moves of a condition did, as means per answer.

    Attributes
    ----------
    moves, moved
        Moves, and those that changed the answer.
    unmoved
        Share of answers that no move changed: they are what the chain's extensions drew.
    moved_per_thousand
        Moves that changed the answer, for 1,000 decoded tokens.
    equal
        Shares of answers that are another condition's to the same problem, token for token.
    """

    condition: str
    moves: float
    moved: float
    unmoved: float
    moved_per_thousand: float
    equal: dict[str, float]


class SwapRate(Frozen):
    """How often the rung at ``alpha`` swaps strings with the one above it, a share."""

    alpha: float
    rate: float


class Mixing(Frozen):
    """How fast a kernel mixes for what it decodes; None for what it does not have.

    Attributes
    ----------
    decoded_tokens
        Mean per answer.
    effective_per_thousand
        Effective draws of log p in the last block's moves, for 1,000 decoded tokens; ``still``
        counts the problems in which log p never varies, which add nothing.
    effective_particles
        1 / sum of the squared shares of the weights, of so many ``particles``; mean.
    """

    condition: str
    decoded_tokens: float
    moved_per_thousand: float | None
    effective_per_thousand: float | None
    still: int | None
    swaps: tuple[SwapRate, ...]
    particles: int | None
    effective_particles: float | None


class KernelVote(Frozen):
    """An answer of a condition, or a choice among several, and what it costs.

    Attributes
    ----------
    vote
        ``answer`` for one answer as it is; ``majority``; the best by ``log_p``, ``mean_log_p`` or
        ``certainty``; ``sharpened``, an answer drawn with chances in proportion to its frequency to
        the power ``gamma``; or one answer's own strings: the ``rungs`` of a ladder, each with a
        vote, or particles by their ``weights``.
    k
        Answers among which is chosen, on average.
    difference, difference_low, difference_high
        From the reference's accuracy; None of the reference itself.
    """

    condition: str
    vote: str
    k: float
    gamma: float | None = None
    decoded_tokens: float
    accuracy: float
    low: float
    high: float
    difference: float | None
    difference_low: float | None
    difference_high: float | None


class Kernels(Frozen):
    """Ways of sampling p^alpha at the decoded tokens of one of them, the ``reference``."""

    reference: str
    votes: tuple[KernelVote, ...]
    mixing: tuple[Mixing, ...]


class ParallelChains(Frozen):
    """Whether the chains of a problem agree on log p, over the moves of the last block.

    Attributes
    ----------
    chains, moves
        Chains of a problem, which are the condition's samples, and draws of each.
    agreed_below
        The R-hat below which chains are taken to agree.
    still, stuck
        Problems in which log p never varies, of which nothing is told, and those whose chains stand
        still at values that differ, whose R-hat is infinite.
    r_hat, effective
        Split R-hat of the other problems, rising; bulk effective sizes of all but those that are
        still, rising.
    """

    condition: str
    chains: int
    moves: int
    agreed_below: float
    still: int
    stuck: int
    r_hat: tuple[float, ...]
    effective: tuple[float, ...]


class Reweighting(Frozen):
    """Plain draws weighted towards p^alpha, by exp(alpha log p - log q).

    Attributes
    ----------
    draws, effective
        Draws of a problem, and to how many equal ones their weights come, by problem, rising.
    accuracy, reweighted
        Of the draws as they are, and by weight.
    """

    condition: str
    alpha: float
    draws: int
    effective: tuple[float, ...]
    accuracy: float
    reweighted: float


class Distance(Frozen):
    """A mean over problems with its interval, which a single problem does not have."""

    value: float
    low: float | None
    high: float | None


class DistanceFromLongRun(Frozen):
    """Answers of a condition beside the draws of a long run, chains of other samples only.

    Attributes
    ----------
    kernel, steps
        The acceptance of plain power sampling, None of anything else; moves per block.
    log_p
        Mean of the answers; ``gain`` is that less the long run's.
    rank
        The share of the long run's draws with less log p, half of those with the same; 1/2 where
        the distributions are the same.
    energy
        Energy distance of the distributions of log p, in nats, without bias: about 0 where they are
        the same.
    """

    condition: str
    kernel: str | None
    steps: int
    decoded_tokens: float
    accuracy: float
    low: float
    high: float
    log_p: float
    gain: Distance
    rank: Distance
    energy: Distance


class Noise(Frozen):
    """Where 95% of a number lie for the long run's own states."""

    low: float
    high: float


class LongRun(Frozen):
    """Distances from a long run, which stands for p^alpha.

    Attributes
    ----------
    chains, draws
        Of a problem, and of each chain: the second half of its moves.
    log_p
        Mean of those draws.
    gain_noise, rank_noise, energy_noise
        What the states of the run's own chains come to after each of these moves: what answers of
        p^alpha itself would show here.
    """

    condition: str
    chains: int
    draws: int
    log_p: float
    gain_noise: Noise
    rank_noise: Noise
    energy_noise: Noise
    distances: tuple[DistanceFromLongRun, ...]


class Convergence(Frozen):
    """How far answers are from p^alpha; None and empty where a study has nothing to tell it by."""

    parallel: tuple[ParallelChains, ...] = ()
    reweighted: tuple[Reweighting, ...] = ()
    long_run: LongRun | None = None


class SweepPoint(Frozen):
    """A condition at a point of a sweep; None for what its sampler or blend does not have."""

    condition: str
    sampler: str
    alpha: float | None
    beta: float | None
    source: str | None
    layer: int | None
    norm: str | None
    accuracy: float
    low: float
    high: float


class Disagreement(Frozen):
    """An answer on which the graders differ: ``correct`` by the first, ``second`` by the other."""

    condition: str
    problem_id: str
    sample: int
    answer: str | None
    gold: str
    correct: bool
    second: bool


class Ungraded(Frozen):
    """An answer on which a grader has no verdict."""

    condition: str
    problem_id: str
    sample: int
    reason: str


class Perturbation(Frozen):
    """How far a blend moves the distribution of a token; as in `NextTokenMeasures`."""

    kl: float
    flips: float
    scale: float


class ProbedCondition(MeasuredBlend):
    """The blend of a condition, measured; ``own`` is on the model's own answers.

    Where an exponent was searched for, the blend is one of the uniform distribution, at the beta
    with which the exponent is 1 - beta times the study's. Where a beta was searched for, it has all
    that a `MatchedBlend` has; otherwise that is None.
    """

    condition: str
    match_kl: float | None = None
    match_scale: float | None = None
    like: BlendSettings | None = None
    over: str | None = None
    problems: int | None = None
    tokens: int | None = None
    of_tokens: int | None = None
    own: Perturbation | None = None

    @property
    def is_matched(self) -> bool:
        """Whether its beta was searched for."""
        return self.match_kl is not None or self.match_scale is not None


ControlKind = Literal["noise", "temperature", "source"]


class Control(Frozen):
    """A condition that is as large a change of the model as another condition's blend.

    Attributes
    ----------
    kind
        Noise, another temperature, or another source of knowledge.
    matched
        What it has in common with the blend: the mean KL, or the mean scale of the logits.
    measured
        What it does to the model's distribution.
    alpha
        Its exponent, where it blends nothing.
    equal
        Share of answers that are the blend's own, token for token; None where that is not recorded.
    contrast
        The blend less the control, where that is declared.
    """

    kind: ControlKind
    matched: Literal["kl", "scale"]
    measured: ProbedCondition
    alpha: float | None
    equal: float | None
    contrast: ContrastResult | None


class ControlledBlend(Frozen):
    """A condition's blend with its controls; ``plain`` is the same condition without the blend."""

    measured: ProbedCondition
    plain: str | None
    plain_equal: float | None
    plain_contrast: ContrastResult | None
    controls: tuple[Control, ...]


class EqualBeta(Frozen):
    """The beta at which a source has the KL of a condition's blend; None above all measured."""

    condition: str
    kl: float
    source: str
    layer: int | None
    norm: str | None
    beta: float | None


class ProbeSummary(Frozen):
    """What the probe comes to; ``suggested`` is the best layer that is not the last."""

    measured: ProbeMeasurements | None = None
    conditions: tuple[ProbedCondition, ...] = ()
    suggested: MeasuredBlend | None = None
    equal: tuple[EqualBeta, ...] = ()


class Summary(Frozen):
    """A study in numbers; sections that it has nothing for are empty.

    Attributes
    ----------
    model, dataset
        Names of what the study is of.
    problems, samples
        Problems, and answers to each by each condition.
    confidence
        Level of all intervals.
    conditions
        What each condition is; ``blended`` names those with a blend.
    overall
        The main table, a condition each, in report order.
    """

    model: str = ""
    dataset: str = ""
    problems: int
    samples: int
    confidence: float
    conditions: dict[str, Condition]
    blended: tuple[str, ...]
    overall: tuple[ConditionResult, ...]
    contrasts: tuple[ContrastResult, ...] = ()
    difficulty: Difficulty | None = None
    levels: tuple[LevelAccuracy, ...] = ()
    subjects: tuple[SubjectAccuracy, ...] = ()
    overlaps: tuple[Overlap, ...] = ()
    seeds: tuple[SeedAccuracy, ...] = ()
    sampling: tuple[SeveralSamples, ...] = ()
    compute: tuple[ComputePoint, ...] = ()
    matched: tuple[MatchedCompute, ...] = ()
    chains: tuple[ChainProgress, ...] = ()
    movements: tuple[Movement, ...] = ()
    kernels: Kernels | None = None
    convergence: Convergence | None = None
    sweep: tuple[SweepPoint, ...] = ()
    disagreements: tuple[Disagreement, ...] = ()
    ungraded: tuple[Ungraded, ...] = ()
    probe: ProbeSummary = ProbeSummary()
    controls: tuple[ControlledBlend, ...] = ()
    training: TrainingReport | None = None

    def accuracies(self) -> dict[str, float]:
        """Accuracy by condition."""
        return {result.condition: result.accuracy for result in self.overall}
