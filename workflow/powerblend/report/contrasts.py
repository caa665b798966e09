"""Contrasts in sentences: each is chosen by the numbers it speaks of, and claims no more.

A contrast's verdict is what its Holm-adjusted p-value may be called: significant, suggestive, or
within noise.
"""

from collections.abc import Sequence

from powerblend.analysis.interaction import Quartet, of_quartet
from powerblend.report.text import count, interval, named, p_value, points
from powerblend.vocabulary.summary import ContrastResult


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
    if contrast.verdict == "suggestive":
        return f"The difference {first} is {above} {second}, which is suggestive only: {effect}."
    return f"The differences {first} and {second} differ within noise: {effect}."


def evidence(contrast: ContrastResult) -> str:
    """Interval and p-values of a contrast."""
    p, holm = p_value(contrast.p), p_value(contrast.p_holm)
    adjusted = "" if p == holm else f" ({holm} after Holm's adjustment)"
    bounds = interval(contrast.low, contrast.high)
    return f"interval {bounds}, p {p if p.startswith('<') else '= ' + p}{adjusted}"


def contrasts_sentence(contrasts: Sequence[ContrastResult]) -> str:
    """How many contrasts held up."""
    if not contrasts:
        return "The study has no declared contrast whose conditions ran."
    verdicts = [contrast.verdict for contrast in contrasts]
    significant, suggestive = verdicts.count("significant"), verdicts.count("suggestive")
    total = count(len(contrasts), "contrast tested", "contrasts tested")
    if significant:
        tail = f", and {suggestive} suggestive" if suggestive else ""
        return f"Of {total}, {significant} came out significant{tail}."
    if suggestive:
        return f"Of {total}, none came out significant and {suggestive} suggestive."
    return f"Of {total}, none can be told from noise."
