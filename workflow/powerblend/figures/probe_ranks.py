"""The probe: the rank of the text's next token under each layer's logits."""

from collections.abc import Callable

from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from powerblend.figures.style import GREY, line_style, note, plain
from powerblend.vocabulary.measurements import NextTokenMeasures, ProbeMeasurements
from powerblend.vocabulary.published import PublishedNumbers
from powerblend.vocabulary.summary import Summary

WORDS = {"none": "raw state", "final": "after the final norm"}


def draw(summary: Summary, published: PublishedNumbers) -> Figure:
    """Two panels, median and mean, with a line per norm and one for the final layer."""
    measured = summary.probe.measured
    if measured is None:
        return plain("No ranks by layer to show: the probe was not run.")
    figure, panels = plt.subplots(1, 2, figsize=(8, 3.6), sharey=True)
    _lines(panels[0], measured, lambda measures: measures.median_rank)
    _lines(panels[1], measured, lambda measures: measures.mean_rank)
    panels[0].set_title("Median rank", size=10)
    panels[1].set_title("Mean rank", size=10)
    panels[0].set_ylabel("rank of the text's token (log scale)", color=GREY)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=3)
    note(figure, f"{about(measured)} Rank 1 is the most likely token.", 110)
    return figure


def about(measured: ProbeMeasurements) -> str:
    """What was read."""
    texts = {"solutions": "solutions", "greedy": "the model's own greedy answers"}
    return (
        f"{measured.tokens:,} tokens from {texts[measured.over]} of {measured.problems} problems."
    )


def _lines(
    axes: Axes, measured: ProbeMeasurements, rank: Callable[[NextTokenMeasures], float]
) -> None:
    for index, (norm, words) in enumerate(WORDS.items()):
        layers = [layer for layer in measured.layers if layer.norm == norm]
        ranks = [rank(layer) for layer in layers]
        numbers = [layer.layer or 0 for layer in layers]
        colour, marker = line_style(index)
        axes.plot(numbers, ranks, label=words, ms=4, lw=1.4, color=colour, marker=marker)
    axes.axhline(rank(measured.final), color="black", lw=1, ls="--", label="final layer")
    axes.set_yscale("log")
    axes.set_ylim(bottom=0.8)
    axes.grid(True, axis="y")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8))
    axes.set_xlabel("decoder block", color=GREY)
