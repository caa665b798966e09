"""What follows from a run as a whole: its conclusion, its findings, what to do next."""

from collections.abc import Sequence

from powerblend.analysis.interaction import Quartet, of_quartet, quartet
from powerblend.analysis.sweep import not_swept
from powerblend.report.contrasts import (
    contrast_sentence,
    contrasts_sentence,
    margin,
    strongest,
)
from powerblend.report.limitations import PAPER_STEPS
from powerblend.report.method import chains
from powerblend.report.text import escaped, percent, points
from powerblend.study.schema import Study
from powerblend.vocabulary.summary import ContrastResult, Summary

Finding = tuple[str, str, str]
"""What was found, the evidence for it, and the verdict."""


def findings(summary: Summary) -> list[Finding]:
    """Those of the declared contrasts, one each."""
    shares, four = summary.accuracies(), quartet(summary)
    return [
        _interaction(contrast, four)
        if contrast.kind == "interaction"
        else _difference(contrast, shares[contrast.plus[0]], shares[contrast.minus[0]])
        for contrast in summary.contrasts
    ]


def _difference(contrast: ContrastResult, plus: float, minus: float) -> Finding:
    change, verb = contrast.difference, "is not told from"
    if contrast.verdict == "equivalent":
        verb = f"equals, within {margin(contrast)},"
    if contrast.verdict == "suggestive":
        verb = "may differ from"
    if contrast.verdict == "significant":
        verb = "beats" if change > 0 else "is worse than" if change < 0 else "differs from"
    relative = points(change / minus, "%") if minus else "—"
    return (
        f"`{contrast.plus[0]}` {verb} `{contrast.minus[0]}`",
        f"{percent(plus)} against {percent(minus)}: {points(change)}, {relative} relative",
        contrast.verdict,
    )


def _interaction(contrast: ContrastResult, four: Quartet | None) -> Finding:
    oriented = of_quartet(contrast, four)
    found = _of_any(contrast) if oriented is None else _of_quartet(oriented)
    return found, points((oriented or contrast).difference), contrast.verdict


def _of_quartet(contrast: ContrastResult) -> str:
    if contrast.verdict == "within noise":
        return "Blend and power sampling: no interaction told from noise"
    if contrast.verdict == "equivalent":
        return f"Blend and power sampling: no interaction beyond {margin(contrast)}"
    more = "more" if contrast.difference > 0 else "less"
    verb = "gain" if contrast.verdict == "significant" else "may gain"
    return f"Blend and power sampling together {verb} {more} than the sum of each alone"


def _of_any(contrast: ContrastResult) -> str:
    (a, d), (b, c) = contrast.plus, contrast.minus
    above = "above" if contrast.difference > 0 else "below"
    verbs = {
        "significant": f"is {above}",
        "equivalent": f"equals, within {margin(contrast)},",
        "suggestive": f"may be {above}",
    }
    return f"`{a}` − `{b}` {verbs.get(contrast.verdict, 'is not told from')} `{c}` − `{d}`"


def opening(summary: Summary, limit: int = 4) -> str:
    """What was found, the strongest evidence first, and what follows from the run as a whole."""
    four = quartet(summary)
    found = strongest(summary.contrasts)
    sentences = [contrast_sentence(contrast, four) for contrast in found[:limit]]
    if len(found) > limit:
        sentences.append("Section 4.5 has the others.")
    return " ".join([contrasts_sentence(summary.contrasts), *sentences, conclusion(summary)])


def conclusion(summary: Summary) -> str:
    """The study's question, answered as far as its interaction and its main contrast allow."""
    verdicts = {contrast.verdict for contrast in summary.contrasts}
    if not verdicts:
        return "No contrast was tested, so this run concludes nothing about the method."
    if "significant" in verdicts:
        return (
            "What is called significant holds after adjustment for all contrasts tested, "
            "for this model and these problems; the rest is open."
        )
    if "equivalent" in verdicts:
        return (
            "What is called equal is so within the declared margin, after adjustment for all "
            "contrasts tested, for this model and these problems; the rest is open."
        )
    if "suggestive" in verdicts:
        return (
            "Nothing below is established. What is suggestive is worth a larger run, and is no "
            "basis for choosing a method."
        )
    return (
        "On these problems, this run tells none of the methods that it compared from another. That "
        "is no proof that they are alike: see the intervals."
    )


def next_steps(summary: Summary, study: Study) -> list[str]:
    """What would make the study say more, without what it did already."""
    steps = [chain.steps for chain in chains(summary)]
    single, shards = not_swept(summary), study.shards
    whole = len(shards.indices) >= shards.of
    candidates = [
        (not whole, f"All shards: this run used {_named(shards.use)} of {shards.of}."),
        (summary.samples == 1, "Several samples per problem, for majority vote and best-of-k."),
        (bool(steps) and max(steps) < PAPER_STEPS, f"{PAPER_STEPS} moves per block, as the paper."),
        (bool(single), f"A sweep of {' and '.join(single)}."),
        (True, "Other models and problem sets."),
    ]
    return [text for wanted, text in candidates if wanted]


def _named(shards: str | Sequence[int]) -> str:
    return escaped(shards if isinstance(shards, str) else ", ".join(map(str, shards)))
