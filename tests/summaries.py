"""Summaries of studies that never ran: what figures and the report are made from."""

from itertools import combinations
from typing import Any, TypeVar

from pydantic import BaseModel
from statsmodels.stats.proportion import proportion_confint

from powerblend.samplers import parse_sampler
from powerblend.vocabulary.measurements import (
    DraftMeasurements,
    DraftQuality,
    MeasuredBlend,
    NextTokenMeasures,
    OffsetPredictions,
    OwnAnswers,
    ProbeMeasurements,
    TrainingReport,
)
from powerblend.vocabulary.summary import (
    ChainProgress,
    ComputePoint,
    Condition,
    ConditionDifficulty,
    ConditionResult,
    ContrastResult,
    Control,
    ControlledBlend,
    Convergence,
    Difficulty,
    Distance,
    DistanceFromLongRun,
    EqualBeta,
    Kernels,
    KernelVote,
    LevelAccuracy,
    LongRun,
    MatchedCompute,
    Mixing,
    Movement,
    Noise,
    Overlap,
    ParallelChains,
    Perturbation,
    ProbedCondition,
    ProbeSummary,
    Reweighting,
    SeedAccuracy,
    SeveralSamples,
    SubjectAccuracy,
    Summary,
    SwapRate,
    SweepPoint,
    ValueAtK,
)

Value = TypeVar("Value", bound=BaseModel)
Decoding = dict[str, Any]
"""A condition as a configuration has it."""

LAYER: Decoding = {"source": "layer", "layer": 33, "beta": 0.05, "norm": "none"}
DRAFT: Decoding = {"source": "draft", "beta": 0.05}
POWER: Decoding = {"sampler": "power", "alpha": 4.0, "blocks": 16, "steps": 2, "mh": "exact"}
POWER |= {"proposal": "base", "max_new_tokens": 1024}
PROBED = (17, 33)
"""Layers whose blends the probe of the earlier study's model measured."""

GREEDY: Decoding = {"sampler": "greedy", "max_new_tokens": 1024}
TEMPERATURE: Decoding = {"sampler": "temperature", "temperature": 0.25, "max_new_tokens": 1024}

QUALITY = DraftQuality(accuracy=0.31, by_offset=(0.6, 0.3, 0.03), accepted=0.84, offered=2.7)
TRAINING = TrainingReport(
    answers=360,
    held_out=40,
    parameters=8_700_000,
    steps=25,
    losses=tuple(9 / (1 + 0.2 * step) for step in range(25)),
    held_out_quality=QUALITY,
    greedy_quality=QUALITY.model_copy(update={"accuracy": 0.42, "accepted": 1.18}),
)

EARLIER = {
    "greedy": (GREEDY, 74, 0, 626.0),
    "temp": (TEMPERATURE, 72, 1, 626.0),
    "ps": (POWER, 70, 5, 613.0),
    "blend_greedy": (GREEDY | {"blend": LAYER}, 68, 3, 627.0),
    "blend_ps": (POWER | {"blend": LAYER}, 73, 8, 604.0),
    "draft_blend_ps": (POWER | {"blend": DRAFT}, 71, 4, 608.0),
}
"""The earlier study: how each condition decodes, its easy and hard problems solved, its tokens."""


def changed(value: Value, **changes: Any) -> Value:
    """The value with some of its fields replaced."""
    unknown = changes.keys() - type(value).model_fields.keys()
    assert not unknown, f"{type(value).__name__} has no {unknown}"
    return value.model_copy(update=changes)


def decoding_otherwise(summary: Summary, decoding: dict[str, Decoding]) -> Summary:
    """The summary with some of its conditions replaced."""
    conditions = {name: condition(how) for name, how in decoding.items()}
    return changed(summary, conditions=summary.conditions | conditions)


def condition(how: Decoding) -> Condition:
    """A condition as its summary has it; its blend may be of a source that is not registered."""
    sampler = parse_sampler({key: value for key, value in how.items() if key != "blend"})
    return Condition.model_validate(how | {"description": sampler.describe()})


def earlier_study(names: tuple[str, ...] = tuple(EARLIER)) -> Summary:
    """The earlier study's 104 problems, of which greedy decoding solved 74."""
    summary = study({name: EARLIER[name] for name in names}, easy=74, hard=30)
    return changed(summary, probe=probe(summary))


def measures(depth: float, beta: float, hard: int) -> NextTokenMeasures:
    """Those of a layer at some depth in [0, 1] with a weight, where ``hard`` tokens are hard."""
    rank = 1 + 1e5 * (1 - depth) * abs(beta)
    prediction = {
        "mean_rank": 15 * rank,
        "median_rank": rank,
        "log_loss": 0.2 + abs(beta),
        "better": 0.04 * abs(beta),
        "likelier": 0.4,
    }
    of_hard = {f"hard_{k}": value if hard else None for k, value in prediction.items()}
    perturbation = {"kl": beta**2, "flips": abs(beta) / 2, "scale": 1 + beta}
    return NextTokenMeasures.model_validate(prediction | perturbation | of_hard)


def probe(summary: Summary, hard: int = 120) -> ProbeSummary:
    """A probe of 36 layers, of which those near the end rank well, and of two layers' blends."""

    def measured_blend(layer: int, norm: str, beta: float) -> MeasuredBlend:
        of_layer = measures(layer / 35, beta, hard).model_dump()
        return MeasuredBlend(source="layer", layer=layer, norm=norm, beta=beta, **of_layer)

    layers = [measured_blend(k, norm, 1.0) for k in range(36) for norm in ("none", "final")]
    blends = [
        measured_blend(layer, norm, beta)
        for layer in PROBED
        for norm in ("none", "final")
        for beta in (-0.2, -0.1, -0.05, -0.01, 0.01, 0.05, 0.1, 0.2, 0.5)
    ]
    offsets = [
        OffsetPredictions(
            offset=k, tokens=9, mean_rank=100.0 * k, median_rank=k, log_loss=k / 3, agreement=1 / k
        )
        for k in range(1, 16)
    ]
    measured = ProbeMeasurements(
        over="solutions", problems=128, tokens=4096, of_tokens=25000, hard=0.01, hard_tokens=hard,
        decoder_blocks=36, final=measures(1, 0, hard), layers=tuple(layers), blends=tuple(blends),
        configured=(measured_blend(33, "none", 0.05),),
        draft=DraftMeasurements(
            tokens=9, mean_rank=697.0, median_rank=1, log_loss=1 / 3, agreement=1, block_size=16,
            offsets=tuple(offsets),
        ),
        own=OwnAnswers(problems=100, tokens=3000, of_tokens=60000, blends=()),
    )  # fmt: skip
    conditions = tuple(
        ProbedCondition(
            condition=name,
            **how.blend.model_dump(),
            **measures(0.9, how.blend.beta, hard).model_dump(),
            # Half of what it is on solutions.
            own=Perturbation(kl=how.blend.beta**2 / 2, flips=how.blend.beta / 4, scale=1.01),
        )
        for name, how in summary.conditions.items()
        if how.blend is not None
    )
    equal = tuple(
        EqualBeta(
            condition=probed.condition, kl=probed.kl, source="layer", layer=17, norm="final",
            beta=beta,
        )
        for probed in conditions[:1]
        for beta in (0.031, None)
    )  # fmt: skip
    return ProbeSummary(measured=measured, conditions=conditions, suggested=layers[-3], equal=equal)


def small_study() -> Summary:
    """Two conditions and eight problems."""
    conditions = {"greedy": (GREEDY, 3, 0, 25.0), "ps": (POWER | {"blocks": 2}, 2, 1, 24.0)}
    return study(conditions, easy=3, hard=5)


def large_study() -> Summary:
    """Twelve conditions, five hundred problems, four samples and a sweep."""
    conditions = {name: (how, 5 * e, 5 * h, t) for name, (how, e, h, t) in EARLIER.items()}
    for index, (alpha, beta) in enumerate([(2, 0.01), (2, 0.05), (2, 0.2), (4, 0.01), (4, 0.2)]):
        decoding = POWER | {"alpha": float(alpha), "blend": LAYER | {"beta": beta}}
        conditions[f"blend_ps_a{alpha}_b{beta}"] = (decoding, 350 + index, 20 + 3 * index, 600.0)
    conditions["blend_ps_layer17"] = (POWER | {"blend": LAYER | {"layer": 17}}, 340, 22, 611.0)
    summary = study(conditions, easy=370, hard=130)
    return changed(
        summary,
        samples=4,
        probe=probe(summary, hard=3),
        training=TRAINING,
        matched=(
            matched("ps", 8, 4),
            matched("ps", 8, 4, choice="best_of", cost="seconds", low=-0.09, high=-0.01),
            matched("draft_blend_ps", 1.97, 1.97),
        ),
        sampling=_sampling(summary),
        compute=(*summary.compute, *_points_of_samples(summary)),
        sweep=sweep_points(summary),
        movements=(
            movement("ps", {"temp": 68 / 104}),
            movement("blend_ps", {"temp": 0.4, "ps": 0.5}),
        ),
        kernels=kernels(),
        convergence=convergence(),
        controls=controls(summary),
        seeds=tuple(
            SeedAccuracy(**_accuracy(result), seed=seed)
            for result in summary.overall
            for seed in (42, 43)
        ),
    )


def movement(condition: str, equal: dict[str, float]) -> Movement:
    """Of a chain whose every eighth move changes the answer."""
    return Movement(
        condition=condition, moves=32, moved=4, unmoved=0.3, moved_per_thousand=0.8, equal=equal
    )


def kernels() -> Kernels:
    """Every kind of vote, one of them dear and one of them far off; and two kernels."""
    apart = {"difference": 0.2, "difference_low": 0.1, "difference_high": 0.3}
    votes = [kernel_vote("ps", "answer", difference=None, difference_low=None)]
    votes += [kernel_vote("temp", "answer", decoded_tokens=100.0)]
    votes += [kernel_vote("tempering", "rungs"), kernel_vote("csmc", "weights", **apart)]
    choices = ("majority", "log_p", "mean_log_p", "certainty", "sharpened")
    votes += [kernel_vote("temp", choice, k=2.5, gamma=4.0) for choice in choices]
    some = {"decoded_tokens": 5000.0, "moved_per_thousand": 1.5}
    absent = {"effective_per_thousand": None, "still": None, "swaps": ()}
    absent |= {"particles": None, "effective_particles": None}
    swaps = (SwapRate(alpha=1.5, rate=0.25), SwapRate(alpha=2, rate=0.5))
    ladder = {"effective_per_thousand": 0.7, "still": 3, "swaps": swaps}
    particles = {"particles": 8, "effective_particles": 3.4}
    mixing = (
        Mixing(condition="tempering", **absent | some | ladder),
        Mixing(condition="csmc", **absent | some | particles),
    )
    return Kernels(reference="ps", votes=tuple(votes), mixing=mixing)


def convergence() -> Convergence:
    """Chains that agree here and there, draws that are worth little, and both kernels."""
    parallel = ParallelChains(
        condition="ps", chains=4, moves=16, agreed_below=1.01, still=2, stuck=1,
        r_hat=(1.0, 1.005, 1.3), effective=(8.0, 20.0, 41.5, 64.0),
    )  # fmt: skip
    never = changed(parallel, condition="blend_ps", still=6, stuck=0, r_hat=(), effective=())
    weighted = Reweighting(
        condition="temp", alpha=4.0, draws=4, effective=(1.0, 1.5, 3.9, 4.0), accuracy=0.5,
        reweighted=0.55,
    )  # fmt: skip
    distances = (
        distance("temp", None, 0, gain=-2.0),
        distance("ps_0", "exact", 0, gain=-1.5),
        distance("ps", "exact", 2, gain=-0.2, energy=0.1),
        distance("published", "published", 2, gain=0.9),
    )
    noise = Noise(low=-0.3, high=0.3)
    run = LongRun(
        condition="blend_ps", chains=4, draws=128, log_p=-20.0, gain_noise=noise,
        rank_noise=Noise(low=0.45, high=0.55), energy_noise=noise, distances=distances,
    )  # fmt: skip
    return Convergence(parallel=(parallel, never), reweighted=(weighted,), long_run=run)


def distance(
    name: str, kernel: str | None, steps: int, gain: float, energy: float = 1.2
) -> DistanceFromLongRun:
    """From a long run, where 0 is inside an interval of half a nat."""
    return DistanceFromLongRun(
        condition=name, kernel=kernel, steps=steps, decoded_tokens=600.0 * (1 + steps),
        accuracy=0.5, low=0.45, high=0.55, log_p=-20.0 + gain,
        gain=Distance(value=gain, low=gain - 0.5, high=gain + 0.5),
        rank=Distance(value=0.4, low=0.3, high=0.5),
        energy=Distance(value=energy, low=energy - 0.5, high=None),
    )  # fmt: skip


def kernel_vote(condition: str, vote: str, **changes: Any) -> KernelVote:
    """One that is no better than the reference."""
    fields = {"condition": condition, "vote": vote, "k": 1.0, "decoded_tokens": 5000.0}
    fields |= {"accuracy": 0.7, "low": 0.65, "high": 0.75}
    fields |= {"difference": 0.01, "difference_low": -0.02, "difference_high": 0.04}
    return KernelVote.model_validate(fields | changes)


def study(conditions: dict[str, tuple[Decoding, int, int, float]], easy: int, hard: int) -> Summary:
    """A summary of conditions given by decoding, easy and hard problems solved, and tokens."""
    overall = [_overall(name, *given, easy + hard) for name, given in conditions.items()]
    solved = {result.condition: result.correct for result in overall}
    return Summary(
        model="Qwen/Qwen3-4B",
        dataset="HuggingFaceH4/MATH-500",
        problems=easy + hard,
        samples=1,
        confidence=0.95,
        conditions={name: condition(how) for name, (how, *_) in conditions.items()},
        blended=tuple(name for name, (how, *_) in conditions.items() if "blend" in how),
        overall=tuple(overall),
        contrasts=tuple(_contrasts(solved, easy + hard)),
        difficulty=Difficulty(
            reference="greedy",
            easy=easy,
            hard=hard,
            rows=tuple(
                _difficulty(name, e, h, easy, hard) for name, (_, e, h, _) in conditions.items()
            ),
        ),
        levels=tuple(
            LevelAccuracy(level=level, **_accuracy(result))
            for result in overall
            for level in (1, 5)
        ),
        subjects=tuple(
            SubjectAccuracy(subject="Algebra", **_accuracy(result)) for result in overall
        ),
        overlaps=tuple(_overlap(a, b, solved, easy + hard) for a, b in combinations(solved, 2)),
        compute=tuple(_point(result) for result in overall),
        chains=tuple(
            _chain(name, how["blocks"]) for name, (how, *_) in conditions.items() if "blocks" in how
        ),
    )


def matched(chain: str, bought: float, k: float, **changes: Any) -> MatchedCompute:
    """A chain at matched compute."""
    fields = dict(chain=chain, sampling="temp", cost="tokens", choice="majority", accuracy=0.721)
    fields |= dict(bought=bought, k=k, chosen=0.74, difference=-0.019, low=-0.05, high=0.01)
    return MatchedCompute.model_validate(fields | changes)


def controls(summary: Summary) -> tuple[ControlledBlend, ...]:
    """A layer beside no blend, noise, another exponent, and its lens, which has no contrast."""
    like = summary.conditions["blend_ps"].blend
    assert like is not None
    size = measures(0.9, 0.05, 120).model_dump()

    def measured(condition: str, source: str, **settings: Any) -> ProbedCondition:
        return ProbedCondition(condition=condition, source=source, **settings, **size)

    def control(kind: str, matched: str, of: ProbedCondition, p: float | None) -> Control:
        name = f"blend_ps - {of.condition}"
        test = None if p is None else contrast(name, 0.02, p)
        alpha = 4.5 if kind == "temperature" else None
        return Control.model_validate(
            dict(kind=kind, matched=matched, measured=of, alpha=alpha, equal=0.5, contrast=test)
        )

    return (
        ControlledBlend(
            measured=measured("blend_ps", **like.model_dump()),
            plain="ps",
            plain_equal=None,
            plain_contrast=contrast("blend_ps - ps", 0.029, 0.0703),
            controls=(
                control("noise", "kl", measured("draft_blend_ps", "random", beta=0.2), 0.5),
                control("temperature", "scale", measured("temp", "uniform", beta=-0.1), 0.001),
                control("source", "scale", measured("greedy", "layer", layer=9, beta=-0.1), None),
            ),
        ),
    )


def contrast(name: str, difference: float, p: float, **changes: Any) -> ContrastResult:
    """A contrast of a name, which says what is compared."""
    words = name.replace("(", "").replace(")", "").split(" - ")
    holm = min(1.0, 5 * p)
    verdict = "significant" if holm < 0.05 else "suggestive" if holm < 0.1 else "within noise"
    fields = {
        "name": name, "kind": "difference", "plus": words[::3], "minus": words[1:3],
        "difference": difference, "low": difference - 0.05, "high": difference + 0.05, "b": 7,
        "c": 1, "p": p, "p_holm": holm, "detectable": 0.12, "verdict": verdict,
        "margin": 0.03, "p_equivalence": 0.5, "p_equivalence_holm": 1.0,
    }  # fmt: skip
    return ContrastResult.model_validate(fields | changes)


def _overall(
    name: str, how: Decoding, easy: int, hard: int, tokens: float, total: int
) -> ConditionResult:
    correct = easy + hard
    low, high = proportion_confint(correct, total, method="wilson")
    power = how["sampler"] == "power"
    return ConditionResult(
        condition=name, correct=correct, total=total, accuracy=correct / total, low=float(low),
        high=float(high), second_correct=correct, second_accuracy=correct / total, disagreements=0,
        tokens=tokens, decoded_tokens=tokens * (8.2 if power else 1),
        seconds=3.9 if power else 0.8, acceptance=0.504 if power else None,
        unchanged=0.12 if power else None, early_rejected=0.3 if power else None, truncated=0.08,
        unboxed=0.07,
    )  # fmt: skip


def _contrasts(solved: dict[str, int], problems: int) -> list[ContrastResult]:
    pairs = [("blend_ps", "ps", 0.0703), ("ps", "greedy", 1.0), ("blend_ps", "greedy", 0.09)]
    pairs += [("blend_greedy", "greedy", 0.6), ("draft_blend_ps", "ps", 1.0)]
    found = [
        contrast(f"{a} - {b}", (solved[a] - solved[b]) / problems, p)
        for a, b, p in pairs
        if a in solved and b in solved
    ]
    if {"ps", "blend_ps", "greedy", "blend_greedy"} <= solved.keys():
        gain = solved["blend_ps"] - solved["ps"] - solved["blend_greedy"] + solved["greedy"]
        name = "(blend_ps - ps) - (blend_greedy - greedy)"
        nothing = dict(kind="interaction", b=None, c=None, detectable=None)
        found.append(contrast(name, gain / problems, 0.06, **nothing))
    return found


def _difficulty(name: str, e: int, h: int, easy: int, hard: int) -> ConditionDifficulty:
    return ConditionDifficulty(
        condition=name, easy_correct=e, easy_total=easy, easy_accuracy=e / easy if easy else None,
        hard_correct=h, hard_total=hard, hard_accuracy=h / hard if hard else None,
    )  # fmt: skip


def _accuracy(result: ConditionResult) -> dict[str, Any]:
    keys = ("condition", "correct", "total", "accuracy", "low", "high")
    return {key: getattr(result, key) for key in keys}


def _overlap(a: str, b: str, solved: dict[str, int], problems: int) -> Overlap:
    both = max(0, min(solved[a], solved[b]) - 1)
    only_a, only_b = solved[a] - both, solved[b] - both
    return Overlap(
        a=a, b=b, both=both, only_a=only_a, only_b=only_b,
        neither=problems - both - only_a - only_b,
        only_a_ids=tuple(f"test/precalculus/{i}.json" for i in range(only_a)),
        only_b_ids=tuple(f"test/algebra/{i}.json" for i in range(only_b)),
    )  # fmt: skip


def _point(result: ConditionResult) -> ComputePoint:
    return ComputePoint(
        label=result.condition, condition=result.condition, method="single", k=1,
        decoded_tokens=result.decoded_tokens, accuracy=result.accuracy,
    )  # fmt: skip


def _chain(name: str, blocks: int) -> ChainProgress:
    shift = len(name) / 100
    return ChainProgress(
        condition=name,
        acceptance_by_block=tuple(0.8 - 0.3 * k / blocks + shift for k in range(blocks)),
        log_t_per_token_by_block=tuple(-0.6 - shift - 0.001 * (k % 2) for k in range(blocks)),
    )


def _sampling(summary: Summary) -> tuple[SeveralSamples, ...]:
    def at(result: ConditionResult) -> tuple[ValueAtK, ...]:
        return tuple(ValueAtK(k=k, value=min(1.0, result.accuracy + 0.02 * k)) for k in (1, 2, 4))

    return tuple(
        SeveralSamples(
            condition=result.condition, mean=result.accuracy, se=0.01, pass_at=at(result),
            majority_at=at(result), best_of=at(result),
        )
        for result in summary.overall
    )  # fmt: skip


def _points_of_samples(summary: Summary) -> list[ComputePoint]:
    return [
        changed(
            _point(result), method=method, k=k, label=f"{method} {k}",
            decoded_tokens=k * result.decoded_tokens, accuracy=result.accuracy + 0.01 * k,
        )
        for result in summary.overall[:2]
        for method in ("majority", "best_of")
        for k in (2, 4)
    ]  # fmt: skip


def sweep_points(summary: Summary) -> tuple[SweepPoint, ...]:
    """The sweep of a summary: its power sampling with a blend of hidden states."""
    points = []
    for result in summary.overall:
        how = summary.conditions[result.condition]
        if how.sampler == "power" and how.blend is not None and how.blend.source != "draft":
            blend = {key: getattr(how.blend, key) for key in ("beta", "source", "layer", "norm")}
            scores = result.model_dump(include={"condition", "accuracy", "low", "high"})
            points.append(SweepPoint(sampler="power", alpha=how.alpha, **blend, **scores))
    return tuple(points)
