"""The two-by-two table of the study's question: blend or none, greedy or power sampling.

Pure selection over the summary; computes no statistic.
"""

from typing import NamedTuple

from powerblend.analysis.roles import GREEDY, POWER
from powerblend.vocabulary.measurements import BlendSettings
from powerblend.vocabulary.summary import ContrastResult, Summary


class Quartet(NamedTuple):
    """Two samplers, each with the model's own distribution and with one blend of it."""

    greedy: str
    blend_greedy: str
    power: str
    blend_power: str


def quartet(summary: Summary) -> Quartet | None:
    """The first four conditions that form a two-by-two table, if there are any."""
    for result in summary.overall:
        blend = summary.conditions[result.condition].blend
        if blend is not None:
            four = [_first(summary, role, b) for role in (GREEDY, POWER) for b in (None, blend)]
            names = [name for name in four if name is not None]
            if len(names) == len(four):
                return Quartet(*names)
    return None


def interaction_contrast(summary: Summary) -> ContrastResult | None:
    """The contrast that tests the quartet's interaction, if the study declares it."""
    four = quartet(summary)
    oriented = (of_quartet(contrast, four) for contrast in summary.contrasts)
    return next((contrast for contrast in oriented if contrast is not None), None)


def of_quartet(contrast: ContrastResult, four: Quartet | None) -> ContrastResult | None:
    """A contrast as (blend_power - power) - (blend_greedy - greedy), None if it is another."""
    if four is None:
        return None
    wanted = {four.blend_power, four.greedy}, {four.power, four.blend_greedy}
    declared = set(contrast.plus), set(contrast.minus)
    if declared == wanted:
        return contrast
    return turned(contrast) if declared == wanted[::-1] else None


def turned(contrast: ContrastResult) -> ContrastResult:
    """The same contrast, declared the other way round; its name stays the declared one."""
    return contrast.model_copy(
        update={
            "plus": contrast.minus,
            "minus": contrast.plus,
            "difference": -contrast.difference,
            "low": None if contrast.high is None else -contrast.high,
            "high": None if contrast.low is None else -contrast.low,
            "b": contrast.c,
            "c": contrast.b,
        }
    )


def _first(summary: Summary, role: str, blend: BlendSettings | None) -> str | None:
    """The first condition of a role, whatever it blends in, with this blend."""
    for result in summary.overall:
        condition = summary.conditions[result.condition]
        if condition.description.role == role and condition.blend == blend:
            return result.condition
    return None
