"""Accuracy on the problems that a reference condition solved, and on those that it did not."""

from typing import NamedTuple

from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from powerblend.figures.style import PALE, colour_of, note, percent_axis, plain
from powerblend.vocabulary.published import PublishedNumbers
from powerblend.vocabulary.summary import Summary


class Bar(NamedTuple):
    """A condition's right answers on one part of the problems; its share is None if it is empty."""

    condition: str
    correct: int
    total: int
    share: float | None


def draw(summary: Summary, published: PublishedNumbers) -> Figure:
    """Two panels of bars, easy and hard; the reference is 100% and 0% by construction."""
    split = summary.difficulty
    if split is None:
        return plain("No difficulty to show: the study has no condition to split its problems by.")
    easy = [Bar(r.condition, r.easy_correct, r.easy_total, r.easy_accuracy) for r in split.rows]
    hard = [Bar(r.condition, r.hard_correct, r.hard_total, r.hard_accuracy) for r in split.rows]
    figure, (left, right) = plt.subplots(
        1, 2, sharey=True, figsize=(7.5, 1.6 + 0.34 * len(split.rows))
    )
    for axes, bars in ((left, easy), (right, hard)):
        _panel(axes, bars, [_colour(summary, bar.condition) for bar in bars])
    left.set_title(f"Easy: {split.reference} right (n = {split.easy})", size=10)
    right.set_title(f"Hard: {split.reference} wrong (n = {split.hard})", size=10)
    note(
        figure,
        f"The split is {split.reference}'s own, so its bars (pale) are 100% and 0% by "
        "construction, and any other condition regresses to the mean: losses among the easy and "
        "gains among the hard appear even between two runs of one method.",
    )
    return figure


def _colour(summary: Summary, condition: str) -> str:
    is_reference = summary.difficulty and summary.difficulty.reference == condition
    return PALE if is_reference else colour_of(summary, condition)


def _panel(axes: Axes, bars: list[Bar], colours: list[str]) -> None:
    for (name, correct, total, share), colour in zip(bars, colours, strict=True):
        axes.barh(name, share or 0, color=colour, height=0.62)
        label = "no problems" if share is None else f"{share:.1%}  ({correct}/{total})"
        axes.annotate(
            label, (share or 0, name), (4, 0), textcoords="offset points", va="center", fontsize=9
        )
    axes.set_ylim(len(bars) - 0.5, -0.5)
    axes.set_xlim(0, 1.75)
    axes.set_xticks([0, 0.5, 1])
    axes.spines["bottom"].set_bounds(0, 1)
    percent_axis(axes)
