"""Accuracy of every condition with its interval."""

from typing import Any

from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from powerblend.figures.style import (
    GREY,
    colour_of,
    interval_bars,
    legend_of,
    note,
    weight_of_one,
)


def draw(summary: dict[str, Any]) -> Figure:
    """A bar per condition from the summary's overall table, blended ones in another colour."""
    rows = summary["overall"]
    figure, axes = plt.subplots(figsize=(7, 1.4 + 0.36 * len(rows)))
    interval_bars(axes, rows, [colour_of(summary, row["condition"]) for row in rows])
    units = " over problems" if summary["samples"] > 1 else ""
    axes.set_xlabel(
        f"answers graded correct, with {summary['confidence']:.0%} Wilson intervals{units}",
        color=GREY,
    )
    axes.set_title(f"Accuracy on {summary['problems']} problems")
    legend = legend_of(summary, [row["condition"] for row in rows])
    note(figure, f"{legend} {weight_of_one(summary['problems'])}".strip())
    return figure
