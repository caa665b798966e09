"""Accuracy against decoded tokens: the study's unit of compute, rejected work included."""

from collections.abc import Sequence

from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from powerblend.figures.style import (
    GREY,
    LineStyle,
    line_style,
    log_axis,
    note,
    percent_axis,
    plain,
    weight_of_one,
)
from powerblend.vocabulary.published import PublishedNumbers
from powerblend.vocabulary.summary import ComputePoint, Summary

DASHES = {"best_of": "--", "majority": ":"}
WORDS = {"best_of": "best of k", "majority": "majority of k"}


def draw(summary: Summary, published: PublishedNumbers) -> Figure:
    """A point per condition and, where there are samples, a line over k per way of choosing."""
    points = [point for point in summary.compute if point.decoded_tokens]
    if not points:
        return plain("No accuracy against compute to show: no decoded tokens were counted.")
    names = list(dict.fromkeys(point.condition for point in points))
    figure, axes = plt.subplots(figsize=(7.5, max(3.6, 1.2 + 0.21 * _entries(points))))
    for index, name in enumerate(names):
        _condition(axes, [p for p in points if p.condition == name], line_style(index))
    _axes(axes, points)
    axes.set_title("Accuracy against compute")
    axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5))
    remark = "Decoded tokens: every position that the model was run on after the prompt."
    note(figure, f"{remark} {weight_of_one(summary.problems)}".strip())
    return figure


def _entries(points: Sequence[ComputePoint]) -> int:
    return len({(point.condition, point.method) for point in points})


def _condition(axes: Axes, points: Sequence[ComputePoint], style: LineStyle) -> None:
    name = points[0].condition
    for method in dict.fromkeys(point.method for point in points):
        line = sorted((p for p in points if p.method == method), key=lambda p: p.k)
        places = [p.decoded_tokens for p in line], [p.accuracy for p in line]
        if method == "single":
            # Hollow, so that conditions in one place can both be seen.
            axes.plot(
                *places, label=name, ls="", ms=8, mfc="none", mew=1.8, zorder=3,
                color=style.colour, marker=style.marker,
            )  # fmt: skip
        else:
            label = f"{name}, {WORDS[method]}"
            axes.plot(
                *places, label=label, ls=DASHES[method], ms=4, lw=1.3,
                color=style.colour, marker=style.marker,
            )  # fmt: skip


def _axes(axes: Axes, points: Sequence[ComputePoint]) -> None:
    tokens = [point.decoded_tokens for point in points]
    log_axis(axes, tokens, 1.3)
    shares = [point.accuracy for point in points]
    middle, half = (min(shares) + max(shares)) / 2, (max(shares) - min(shares)) / 2
    reach = max(0.06, 1.2 * half)
    axes.set_ylim(max(-0.02, middle - reach), min(1.02, middle + reach))
    percent_axis(axes, "y")
    axes.grid(True, axis="x")
    axes.set_xlabel("decoded tokens per problem (log scale)", color=GREY)
    axes.set_ylabel("accuracy", color=GREY)
