"""Accuracy of every condition with its interval."""

from typing import Any

from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from powerblend.figures.style import BLUE, GREY, ORANGE


def draw(summary: dict[str, Any]) -> Figure:
    """A bar per condition from the summary's overall table, blended ones in another colour."""
    rows = summary["overall"]
    figure, axes = plt.subplots(figsize=(7, 1.2 + 0.42 * len(rows)))
    names = [row["condition"] for row in rows]
    accuracy = [row["accuracy"] for row in rows]
    intervals = [
        [row["accuracy"] - row["low"] for row in rows],
        [row["high"] - row["accuracy"] for row in rows],
    ]
    colours = [ORANGE if name in summary["blended"] else BLUE for name in names]
    axes.barh(names, accuracy, color=colours, height=0.62)
    axes.errorbar(accuracy, names, xerr=intervals, fmt="none", ecolor="black", capsize=3, lw=1.2)
    for row in rows:
        label = f"{row['accuracy']:.1%}  ({row['correct']}/{row['total']})"
        axes.annotate(
            label, (row["high"], row["condition"]), (6, 0), textcoords="offset points", va="center"
        )
    axes.invert_yaxis()
    axes.set_xlim(0, min(1.0, max(row["high"] for row in rows)) + 0.28)
    axes.set_xticks([tick / 5 for tick in range(6)])
    axes.xaxis.set_major_formatter(PercentFormatter(1))
    axes.grid(True, axis="x")
    axes.set_xlabel("answers graded correct, with 95% Wilson intervals", color=GREY)
    axes.set_title(f"Accuracy on {summary['problems']} problems")
    return figure
