"""The sections about what answers cost, how chains went, and how far the graders agree."""

from collections.abc import Sequence

from powerblend.analysis.sweep import panels, verdict
from powerblend.report.text import count, interval, percent, points, table
from powerblend.vocabulary.summary import ConditionResult, MatchedCompute, Summary

CHOSEN = {"majority": "majority", "best_of": "best by log p"}
COSTS = {"tokens": "decoded tokens", "seconds": "seconds"}


def compute_sentence(summary: Summary) -> str:
    """What Metropolis-Hastings costs."""
    conditions = summary.conditions
    moving = [result for result in summary.overall if conditions[result.condition].chain]
    single = [r.decoded_tokens for r in summary.overall if not conditions[r.condition].chain]
    if not moving or not single:
        return ""
    ratios = [result.decoded_tokens / min(single) for result in moving]
    span = f"{min(ratios):.1f}"
    if f"{max(ratios):.1f}" != span:
        span += f" to {max(ratios):.1f}"
    titles = dict.fromkeys(conditions[result.condition].description.title for result in moving)
    return (
        f"An answer by {' or '.join(titles)} takes {span} times the decoded tokens of the cheapest "
        "condition that draws each token once."
    )


def matched_table(matched: Sequence[MatchedCompute], confidence: float) -> str:
    """Chains beside what they would pay for: a line per cost and way of choosing."""
    header = ["Chain", "Samples of", "Chosen by", "At equal", "Pays for", "k"]
    header += ["Chain's accuracy", "Choice's", "Difference", f"{confidence:.0%} interval"]
    rows = [
        [
            *(f"`{row.chain}`", f"`{row.sampling}`", CHOSEN[row.choice], COSTS[row.cost]),
            *(f"{row.bought:.2f}", f"{row.k:.2f}"),
            *(percent(row.accuracy), percent(row.chosen), points(row.difference)),
            interval(row.low, row.high),
        ]
        for row in matched
    ]
    return table(header, rows, names=4)


def matched_sentence(matched: Sequence[MatchedCompute]) -> str:
    """Which chains are apart from what they would pay for, by their intervals."""
    apart = [row for row in matched if row.low * row.high > 0]
    total = count(len(matched), "interval")
    if not apart:
        return f"None of {total} excludes 0."
    chance = "one in twenty is expected to by chance"
    listed = "; ".join(
        f"`{row.chain}` less {CHOSEN[row.choice]} of {row.k:.3g} `{row.sampling}` at equal "
        f"{COSTS[row.cost]}, {points(row.difference)}"
        for row in apart
    )
    verb = "excludes" if len(apart) == 1 else "exclude"
    return f"Of {total}, {len(apart)} {verb} 0, where {chance}: {listed}."


def result_of(summary: Summary, condition: str) -> ConditionResult:
    """A condition's line of the overall table."""
    return next(result for result in summary.overall if result.condition == condition)


def sweep_sentences(summary: Summary) -> list[str]:
    """What each map of the sweep holds fixed, and the sign of its best β."""
    return [f"{panel.title}: {verdict(points)}" for panel, points in panels(summary).items()]


def disagreement_count(summary: Summary) -> int:
    """Answers on which the graders differ, listed or not."""
    return sum(result.disagreements for result in summary.overall)


def graders_sentence(overall: Sequence[ConditionResult]) -> str:
    """How far the two graders agree."""
    judged = [
        (result, abs(result.accuracy - result.second_accuracy))
        for result in overall
        if result.second_accuracy is not None
    ]
    if not judged:
        return "No second opinion was asked for."
    answers = sum(result.total for result, _ in judged)
    differ = sum(result.disagreements for result, _ in judged)
    if differ == 0:
        return f"Among {answers} answers the two graders differ on none."
    widest = max(distance for _, distance in judged)
    return (
        f"The two graders differ on {differ} of {answers} answers ({differ / answers:.1%}); by the "
        f"second, no condition's accuracy would be more than {100 * widest:.1f} points different."
    )
