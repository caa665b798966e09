"""The sections about what answers cost, how chains went, and how far the graders agree."""

from collections.abc import Sequence

from powerblend.analysis.sweep import panels, verdict
from powerblend.report.text import interval, points
from powerblend.vocabulary.summary import ConditionResult, MatchedCompute, Summary


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


def matched_sentence(matched: MatchedCompute) -> str:
    """A chain beside the majority vote that its decoded tokens would buy."""
    chain, other = f"`{matched.chain}`", f"`{matched.sampling}`"
    drawn = f", of which the study drew {matched.k:g}" if matched.k < matched.bought else ""
    return (
        f"An answer of {chain} pays for {matched.bought:.2f} answers of {other}{drawn}: "
        f"{_vote(matched.k)} is right on {matched.majority:.1%} of the problems, {chain} on "
        f"{matched.accuracy:.1%} ({points(matched.difference)}, interval "
        f"{interval(matched.low, matched.high)})."
    )


def _vote(k: float) -> str:
    """The vote of k samples, between two whole numbers of them where k is none."""
    below = int(k)
    if k == below:
        return "one" if k == 1 else f"a majority of {below}"
    lower = "one" if below == 1 else f"a majority of {below}"
    return f"{lower} or, by lot, a majority of {below + 1}, at that cost on average,"


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
