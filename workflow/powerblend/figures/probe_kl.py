"""The probe: how far a blend moves the model's law, by beta and source."""

from collections.abc import Mapping
from typing import Any

from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from powerblend.figures.probe_hard import beta_lines, curves_of, share_axis
from powerblend.figures.probe_ranks import about, measured_of
from powerblend.figures.style import note, plain

LEAST = 1e-9
"""A KL below this is rounding, and has no place on a log scale."""


def draw(summary: dict[str, Any]) -> Figure:
    """Two panels over beta, KL and flips of the most likely token, with a line per source."""
    measured = measured_of(summary)
    if measured is None or not measured["blends"]:
        return plain("No KL over β to show: the probe was not run, or measured no blend.")
    figure, (left, right) = plt.subplots(1, 2, figsize=(8, 4))
    curves = curves_of([_shown(row) for row in measured["blends"]])
    beta_lines(left, curves, "kl", at_zero=float("nan"))
    beta_lines(right, curves, "flips", at_zero=0.0)
    for row in (summary["probe"].get("conditions") or [])[:1]:
        left.axhline(row["kl"], color="black", lw=1, ls=":", label=f"KL of {row['condition']}")
    left.set_yscale("log")
    left.set_title("KL(p ‖ p_guided) per token, nats", size=10)
    right.set_title("Most likely token changed", size=10)
    share_axis(right)
    handles, labels = left.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=3)
    note(figure, about(measured), 110)
    return figure


def _shown(row: Mapping[str, Any]) -> Mapping[str, Any]:
    return {**row, "kl": row["kl"] if row["kl"] > LEAST else None}
