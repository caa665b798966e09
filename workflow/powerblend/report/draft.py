"""The section about a draft model as the source of the blend."""

from collections.abc import Sequence

from powerblend.analysis.interaction import quartet, turned
from powerblend.analysis.roles import beside_draft_conditions, draft_conditions
from powerblend.report.contrasts import contrast_sentence
from powerblend.vocabulary.summary import ConditionResult, Summary


def results_to_compare(summary: Summary) -> Sequence[ConditionResult]:
    """The draft conditions and what they are compared with; none without a draft."""
    names = beside_draft_conditions(summary)
    return [result for result in summary.overall if result.condition in names]


def draft_sentence(summary: Summary) -> str:
    """What the declared contrasts say of the draft conditions, a draft first."""
    ours, four = set(draft_conditions(summary)), quartet(summary)
    about = [
        contrast if ours & set(contrast.plus) else turned(contrast)
        for contrast in summary.contrasts
        if ours & {*contrast.plus, *contrast.minus}
    ]
    if not about:
        return "No contrast with a draft condition was declared, so none is tested."
    return " ".join(contrast_sentence(contrast, four) for contrast in about)
