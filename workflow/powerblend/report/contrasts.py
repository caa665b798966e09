"""Contrasts in sentences: each is chosen by the numbers it speaks of, and claims no more.

A contrast's verdict is what its Holm-adjusted p-values may be called: significant, equivalent,
suggestive, or within noise.
"""

from collections.abc import Sequence
from typing import get_args

from powerblend.analysis.interaction import Quartet, of_quartet
from powerblend.report.text import count, interval, named, p_value, points, series
from powerblend.vocabulary.summary import ContrastResult, Verdict

FOUND = {
    "significant": "came out significant",
    "equivalent": "showed no difference beyond the margin",
    "suggestive": "suggestive",
}
"""What is said of so many contrasts of a verdict."""


def contrast_sentence(contrast: ContrastResult, four: Quartet | None = None) -> str:
    """What a contrast found, in the words that its p-value allows."""
    if contrast.kind == "interaction":
        oriented = of_quartet(contrast, four)
        return any_interaction(contrast) if oriented is None else quartet_interaction(oriented)
    plus, minus = named(contrast.plus), named(contrast.minus)
    effect = f"{points(contrast.difference)}, {evidence(contrast)}"
    if contrast.difference == 0:
        return f"{plus} and {minus} give equally many right answers: {effect}."
    if contrast.verdict == "significant":
        better = "more" if contrast.difference > 0 else "less"
        return f"{plus} is {better} accurate than {minus}: {effect}."
    if contrast.verdict == "equivalent":
        return f"{plus} and {minus} are equal within {margin(contrast)}: {effect}."
    if contrast.verdict == "suggestive":
        above = "above" if contrast.difference > 0 else "below"
        return f"{plus} is {above} {minus}, which is suggestive only: {effect}."
    return f"{plus} and {minus} differ within noise: {effect}."


def quartet_interaction(contrast: ContrastResult) -> str:
    """Whether the blend does more for power sampling than for greedy decoding."""
    effect = f"{points(contrast.difference)}, {evidence(contrast)}"
    more = "more" if contrast.difference > 0 else "less"
    if contrast.verdict == "significant":
        return f"The blend does {more} for power sampling than for greedy decoding: {effect}."
    if contrast.verdict == "equivalent":
        return (
            "The blend does as much for power sampling as for greedy decoding, within "
            f"{margin(contrast)}: {effect}."
        )
    if contrast.verdict == "suggestive":
        return (
            f"The blend may do {more} for power sampling than for greedy decoding; this is "
            f"suggestive only: {effect}."
        )
    return (
        "Whether the blend does as much for power sampling as for greedy decoding cannot be told: "
        f"the interaction is within noise, {effect}."
    )


def any_interaction(contrast: ContrastResult) -> str:
    """Which of two differences is the larger: (A - B) - (C - D) with plus A, D and minus B, C."""
    (a, d), (b, c) = contrast.plus, contrast.minus
    first, second = f"`{a}` − `{b}`", f"`{c}` − `{d}`"
    effect = f"{points(contrast.difference)}, {evidence(contrast)}"
    above = "above" if contrast.difference > 0 else "below"
    if contrast.verdict == "significant":
        return f"The difference {first} is {above} {second}: {effect}."
    if contrast.verdict == "equivalent":
        return (
            f"The differences {first} and {second} are equal within {margin(contrast)}: {effect}."
        )
    if contrast.verdict == "suggestive":
        return f"The difference {first} is {above} {second}, which is suggestive only: {effect}."
    return f"The differences {first} and {second} differ within noise: {effect}."


def evidence(contrast: ContrastResult) -> str:
    """Interval and p-values of a contrast."""
    p, holm = p_value(contrast.p), p_value(contrast.p_holm)
    adjusted = "" if p == holm else f" ({holm} after Holm's adjustment)"
    bounds = interval(contrast.low, contrast.high)
    equal = ""
    if contrast.verdict == "equivalent":
        equal = f"; that it is smaller than {margin(contrast)}, {_p(contrast.p_equivalence_holm)}"
    return f"interval {bounds}, {_p(contrast.p)}{adjusted}{equal}"


def margin(contrast: ContrastResult) -> str:
    """Within how many points a difference counts as none."""
    return f"±{100 * contrast.margin:g} points"


def _p(p: float) -> str:
    text = p_value(p)
    return f"p {text if text.startswith('<') else '= ' + text}"


def contrasts_sentence(contrasts: Sequence[ContrastResult]) -> str:
    """How many contrasts held up."""
    if not contrasts:
        return "The study has no declared contrast whose conditions ran."
    verdicts = [contrast.verdict for contrast in contrasts]
    total = count(len(contrasts), "contrast tested", "contrasts tested")
    found = {name: verdicts.count(name) for name in get_args(Verdict) if name in verdicts}
    found.pop("within noise", None)
    if not found:
        return f"Of {total}, none can be told from noise."
    if "significant" not in found:
        found = {"significant": 0} | found
    words = [f"{number or 'none'} {FOUND[name]}" for name, number in found.items()]
    return f"Of {total}, {series(words)}."


def strongest(contrasts: Sequence[ContrastResult]) -> list[ContrastResult]:
    """The significant contrasts, then those that are no difference, by the strength of evidence."""
    significant = [contrast for contrast in contrasts if contrast.verdict == "significant"]
    equivalent = [contrast for contrast in contrasts if contrast.verdict == "equivalent"]
    return [
        *sorted(significant, key=lambda contrast: (contrast.p_holm, -abs(contrast.difference))),
        *sorted(equivalent, key=lambda contrast: contrast.p_equivalence_holm),
    ]
