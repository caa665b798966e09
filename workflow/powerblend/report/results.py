"""The sections about accuracy: each sentence is chosen by the numbers it speaks of.

Nothing here computes a statistic.
"""

from collections.abc import Iterable, Mapping, Sequence

from powerblend.analysis.interaction import Quartet, turned
from powerblend.report.text import count, escaped, named, percent, points, series, table
from powerblend.vocabulary.summary import (
    ConditionAccuracy,
    ConditionResult,
    ContrastResult,
    Difficulty,
    Overlap,
    SeveralSamples,
    Summary,
    ValueAtK,
    Verdict,
)

COLUMNS_PER_CHOICE = 4
"""Values of k that the table of samples shows per way of choosing among them: the largest."""


def additive_sentence(four: Quartet, accuracies: Mapping[str, float]) -> str:
    """The four accuracies as effects: each alone, their sum, and both together."""
    start = accuracies[four.greedy]
    alone = accuracies[four.blend_greedy] - start, accuracies[four.power] - start
    return (
        f"From greedy decoding, the blend alone makes {points(alone[0])}, power sampling alone "
        f"{points(alone[1])}: {points(sum(alone))} if the two merely added up. Together they make "
        f"{points(accuracies[four.blend_power] - start)}."
    )


def detectable_sentence(contrasts: Sequence[ContrastResult], problems: int) -> str:
    """How large a difference must be for a study of this size to see it."""
    found = [contrast.detectable for contrast in contrasts if contrast.detectable is not None]
    if not found:
        return ""
    sizes = dict.fromkeys(f"{100 * size:.1f}" for size in (min(found), max(found)))
    return (
        f"A study of {count(problems, 'problem')} in which conditions differ as often as here "
        f"finds a difference of {' to '.join(sizes)} points, by contrast, with a chance of 80% at "
        "p < 0.05, before adjustment. Smaller ones it is likely to miss: what is within noise is "
        "not shown to be nothing."
    )


def best_sentence(overall: Sequence[ConditionResult], contrasts: Sequence[ContrastResult]) -> str:
    """The highest accuracy, and whether anything says that it is more than the luckiest."""
    best = max(overall, key=lambda result: result.accuracy)
    equal = [result.condition for result in overall if result.accuracy == best.accuracy]
    if len(equal) > 1:
        return f"{named(equal)} share the highest accuracy, {best.accuracy:.1%}."
    if len(overall) == 1:
        return f"`{best.condition}`, the only condition, has accuracy {best.accuracy:.1%}."
    won = [
        contrast if contrast.difference > 0 else turned(contrast)
        for contrast in contrasts
        if contrast.verdict == "significant" and contrast.kind == "difference"
    ]
    beaten = [named(contrast.minus) for contrast in won if best.condition in contrast.plus]
    first = f"`{best.condition}` has the highest accuracy, {best.accuracy:.1%}"
    if beaten:
        return f"{first}, and is significantly above {series(beaten)}."
    return (
        f"{first}. No declared contrast sets it significantly above another condition, and the "
        f"highest of {len(overall)} is favoured by luck."
    )


def overlap_sentence(pair: Overlap, contrasts: Sequence[ContrastResult], samples: int) -> str:
    """Gains and losses between two conditions, with the verdict on their contrast if declared.

    A verdict on several samples is not one on the first of them, which is what a pair counts.
    """
    a, b = f"`{pair.a}`", f"`{pair.b}`"
    gained, lost = pair.only_b, pair.only_a
    which = "By the first sample of each, " if samples > 1 else ""
    if gained == lost == 0:
        return f"{which}{a} and {b} solve the same problems."
    net = gained - lost
    sign = "+" if net > 0 else "−" if net < 0 else "±"
    counts = (
        f"{which}{b} solves {count(gained, 'problem')} that {a} does not, and misses "
        f"{lost} that it does: a net {sign}{abs(net)}."
    )
    if samples > 1:
        return f"{counts} No test is made of first samples; contrasts (section 4.5) are of all."
    return f"{counts} {_overlap_verdict(pair, contrasts)}"


def _overlap_verdict(pair: Overlap, contrasts: Sequence[ContrastResult]) -> str:
    sides = (pair.a,), (pair.b,)
    verdict: Verdict | None = next(
        (c.verdict for c in contrasts if (c.plus, c.minus) in (sides, sides[::-1])), None
    )
    if verdict is None:
        return "No contrast of the two was declared, so no test is made of it."
    return {
        "significant": "So uneven an exchange is significant after adjustment (section 4.5).",
        "equivalent": "That they differ by no more than the margin is shown in section 4.5.",
        "suggestive": "The unevenness is suggestive, not established (section 4.5).",
        "within noise": "Exchanges as uneven as this are within noise (section 4.5).",
    }[verdict]


def hard_sentence(difficulty: Difficulty) -> str:
    """What the hard problems show, and why it must not be read as a gain."""
    shares = {
        row.condition: row.hard_accuracy
        for row in difficulty.rows
        if row.condition != difficulty.reference and row.hard_accuracy is not None
    }
    if not difficulty.hard or not shares:
        return "There is no hard problem that another condition could solve."
    highest = max(shares.values())
    equal = [name for name, share in shares.items() if share == highest]
    best = next(row for row in difficulty.rows if row.condition == equal[0])
    if not best.hard_correct:
        return "No other condition solves any of the hard problems."
    solve = "solves" if len(equal) == 1 else "each solve"
    return (
        f"Of the hard problems, {named(equal)} {solve} the most: {best.hard_correct} of "
        f"{best.hard_total} answers, {highest:.1%}."
    )


def levels_table(summary: Summary) -> str:
    """Accuracies by condition and level."""
    levels = sorted({result.level for result in summary.levels})
    return _breakdown([(str(result.level), result) for result in summary.levels], map(str, levels))


def subjects_table(summary: Summary) -> str:
    """Accuracies by condition and subject."""
    subjects = sorted({result.subject for result in summary.subjects})
    return _breakdown([(result.subject, result) for result in summary.subjects], subjects)


def seeds_table(summary: Summary) -> str:
    """Accuracies by condition and seed."""
    seeds = dict.fromkeys(str(result.seed) for result in summary.seeds)
    return _breakdown([(str(result.seed), result) for result in summary.seeds], seeds)


def _breakdown(results: Sequence[tuple[str, ConditionAccuracy]], groups: Iterable[str]) -> str:
    """A table of conditions by groups of problems, each with the number of its answers."""
    columns = list(groups)
    found = {(result.condition, group): result for group, result in results}
    totals = {group: result.total for group, result in results}
    header = ["Condition", *(f"{escaped(group)} (n = {totals[group]})" for group in columns)]
    rows = [
        [f"`{name}`", *(_share(found.get((name, group))) for group in columns)]
        for name in dict.fromkeys(result.condition for _, result in results)
    ]
    return table(header, rows)


def _share(result: ConditionAccuracy | None) -> str:
    return percent(None if result is None else result.accuracy)


def spread_sentence(summary: Summary) -> str:
    """What the standard error over samples is of, and what it is not."""
    fixed = [
        samples.condition
        for samples in summary.sampling
        if summary.conditions[samples.condition].description.deterministic
    ]
    of_these = "The standard error is of drawing the samples anew for these same problems. It says "
    of_these += "nothing of other problems: the intervals of section 4.1 do."
    if not fixed:
        return of_these
    verb = "gives" if len(fixed) == 1 else "give"
    return f"{of_these} {named(fixed)} {verb} the same answer every time: ± 0.0% by construction."


def samples_table_header(sampling: Sequence[SeveralSamples]) -> list[str]:
    """Names of the columns that `samples_table_values` fills."""
    first = sampling[0]
    return [
        *(f"pass@{at.k}" for at in _shown(first.pass_at)),
        *(f"majority of {at.k}" for at in _shown(first.majority_at)),
        *(f"best of {at.k}" for at in _shown(first.best_of)),
    ]


def samples_table_values(samples: SeveralSamples) -> list[str]:
    """A condition's pass@k, majority votes and best-of-k."""
    choices = (samples.pass_at, samples.majority_at, samples.best_of)
    return [percent(at.value) for values in choices for at in _shown(values)]


def _shown(values: Sequence[ValueAtK]) -> list[ValueAtK]:
    """Those at powers of two, and the last; one sample is no choice."""
    several = [at for at in values if at.k > 1]
    shown = [at for at in several if at.k & (at.k - 1) == 0 or at is several[-1]]
    return shown[-COLUMNS_PER_CHOICE:]
