"""The probe: how far a blend moves the model's law, by beta and source."""

from typing import Any

from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from powerblend.figures.probe_hard import curves_of
from powerblend.figures.probe_ranks import about, measured_of
from powerblend.figures.style import GREY, line_style, note, percent_axis, plain

LEAST = 1e-9
"""A KL below this is rounding."""


def draw(summary: dict[str, Any]) -> Figure:
    """Two panels over beta, KL and flips of the most likely token, with a line per source."""
    measured = measured_of(summary)
    if measured is None or not measured["blends"]:
        return plain("No KL over β to show: the probe was not run, or measured no blend.")
    figure, (left, right) = plt.subplots(1, 2, figsize=(8, 3.8))
    for index, (label, rows) in enumerate(curves_of(measured["blends"]).items()):
        betas = [row["beta"] for row in rows]
        kls = [row["kl"] if row["kl"] > LEAST else float("nan") for row in rows]
        left.plot(betas, kls, label=label, ms=4, lw=1.4, **line_style(index))
        right.plot(betas, [row["flips"] for row in rows], ms=4, lw=1.4, **line_style(index))
    for row in (summary["probe"].get("conditions") or [])[:1]:
        left.axhline(row["kl"], color="black", lw=1, ls="--", label=f"KL of {row['condition']}")
    left.set_yscale("log")
    left.set_title("KL(p ‖ p_guided) per token, nats", size=10)
    right.set_title("Most likely token changed", size=10)
    right.set_ylim(bottom=0)
    percent_axis(right, "y")
    left.grid(True, axis="y")
    for axes in (left, right):
        axes.axvline(0, color="black", lw=0.8)
        axes.set_xlabel("β", color=GREY)
    handles, labels = left.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=3)
    note(figure, about(measured), 110)
    return figure
