"""Accuracy of every condition with its interval."""

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
from powerblend.vocabulary.published import PublishedNumbers
from powerblend.vocabulary.summary import Summary


def draw(summary: Summary, published: PublishedNumbers) -> Figure:
    """A bar per condition from the summary's overall table, blended ones in another colour."""
    results = summary.overall
    figure, axes = plt.subplots(figsize=(7, 1.4 + 0.36 * len(results)))
    interval_bars(axes, results, [colour_of(summary, result.condition) for result in results])
    units = " over problems" if summary.samples > 1 else ""
    axes.set_xlabel(
        f"answers graded correct, with {summary.confidence:.0%} Wilson intervals{units}",
        color=GREY,
    )
    axes.set_title(f"Accuracy on {summary.problems} problems")
    legend = legend_of(summary, [result.condition for result in results])
    note(figure, f"{legend} {weight_of_one(summary.problems)}".strip())
    return figure
