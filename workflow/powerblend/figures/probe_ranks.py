"""The probe: the rank of the text's next token under each layer's logits."""

from collections.abc import Mapping
from typing import Any

from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from powerblend.figures.style import GREY, line_style, note, plain

WORDS = {"none": "raw state", "final": "after the final norm"}


def draw(summary: dict[str, Any]) -> Figure:
    """Two panels, median and mean, with a line per norm and one for the final layer."""
    measured = measured_of(summary)
    if measured is None:
        return plain("No ranks by layer to show: the probe was not run.")
    figure, panels = plt.subplots(1, 2, figsize=(8, 3.6), sharey=True)
    for axes, statistic in zip(panels, ("median", "mean"), strict=True):
        _lines(axes, measured, f"{statistic}_rank")
        axes.set_title(f"{statistic.capitalize()} rank", size=10)
    panels[0].set_ylabel("rank of the text's token (log scale)", color=GREY)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=3)
    note(figure, f"{about(measured)} Rank 1 is the most likely token.", 110)
    return figure


def measured_of(summary: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """What the probe measured, if it was run."""
    found: Mapping[str, Any] | None = (summary.get("probe") or {}).get("measured")
    return found


def about(measured: Mapping[str, Any]) -> str:
    """What was read."""
    texts = {"solutions": "solutions", "greedy": "the model's own greedy answers"}
    return (
        f"{measured['tokens']:,} tokens from {texts[measured['over']]} of "
        f"{measured['problems']} problems."
    )


def _lines(axes: Axes, measured: Mapping[str, Any], key: str) -> None:
    for index, (norm, words) in enumerate(WORDS.items()):
        rows = [row for row in measured["layers"] if row["norm"] == norm]
        places = [row["layer"] for row in rows], [row[key] for row in rows]
        axes.plot(*places, label=words, ms=4, lw=1.4, **line_style(index))
    axes.axhline(measured["final"][key], color="black", lw=1, ls="--", label="final layer")
    axes.set_yscale("log")
    axes.set_ylim(bottom=0.8)
    axes.grid(True, axis="y")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8))
    axes.set_xlabel("decoder block", color=GREY)
