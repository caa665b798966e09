"""Accuracy on the problems that a reference condition solved, and on those that it did not."""

from typing import Any

from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from powerblend.figures.style import PALE, colour_of, note, percent_axis, plain


def draw(summary: dict[str, Any]) -> Figure:
    """Two panels of bars, easy and hard; the reference is 100% and 0% by construction."""
    difficulty = summary.get("difficulty")
    if not difficulty:
        return plain("No difficulty to show: the study has no condition to split its problems by.")
    rows, reference = difficulty["rows"], difficulty["reference"]
    figure, panels = plt.subplots(1, 2, sharey=True, figsize=(7.5, 1.6 + 0.34 * len(rows)))
    for axes, part, mark in zip(panels, ("easy", "hard"), ("right", "wrong"), strict=True):
        _panel(axes, summary, part)
        axes.set_title(f"{part.capitalize()}: {reference} {mark} (n = {difficulty[part]})", size=10)
    note(
        figure,
        f"The split is {reference}'s own, so its bars (pale) are 100% and 0% by construction, and "
        "any other condition regresses to the mean: losses among the easy and gains among the hard "
        "appear even between two runs of one method.",
    )
    return figure


def _panel(axes: Axes, summary: dict[str, Any], part: str) -> None:
    difficulty = summary["difficulty"]
    for row in difficulty["rows"]:
        name, share = row["condition"], row[f"{part}_accuracy"]
        colour = PALE if name == difficulty["reference"] else colour_of(summary, name)
        axes.barh(name, share or 0, color=colour, height=0.62)
        total = row.get(f"{part}_total", difficulty[part])
        label = f"{share:.1%}  ({row[f'{part}_correct']}/{total})" if total else "no problems"
        axes.annotate(
            label, (share or 0, name), (4, 0), textcoords="offset points", va="center", fontsize=9
        )
    axes.set_ylim(len(difficulty["rows"]) - 0.5, -0.5)
    axes.set_xlim(0, 1.75)
    axes.set_xticks([0, 0.5, 1])
    axes.spines["bottom"].set_bounds(0, 1)
    percent_axis(axes)
