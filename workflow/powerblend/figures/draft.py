"""A draft model as the source of the blend, against no blend and a layer's."""

from collections.abc import Mapping
from typing import Any

from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from powerblend.figures.style import (
    GREY,
    colour_of,
    interval_bars,
    legend_of,
    note,
    plain,
    weight_of_one,
)


def drafted(summary: Mapping[str, Any]) -> list[str]:
    """The conditions that blend with a draft model."""
    conditions = summary.get("conditions", {})
    return [
        row["condition"]
        for row in summary["overall"]
        if (conditions.get(row["condition"], {}).get("blend") or {}).get("source") == "draft"
    ]


def compared(summary: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The rows of the draft conditions and of those that share a sampler with one of them."""
    conditions = summary.get("conditions", {})
    samplers = {conditions[name]["sampler"] for name in drafted(summary)}
    return [
        row
        for row in summary["overall"]
        if conditions.get(row["condition"], {}).get("sampler") in samplers
    ]


def draw(summary: dict[str, Any]) -> Figure:
    """A bar per condition that draws as a draft condition does."""
    if not drafted(summary):
        return plain("This study has no condition that blends with a draft model.")
    rows = compared(summary)
    figure, axes = plt.subplots(figsize=(7, 1.5 + 0.4 * len(rows)))
    interval_bars(axes, rows, [colour_of(summary, row["condition"]) for row in rows])
    axes.set_xlabel(f"accuracy, with {summary['confidence']:.0%} Wilson intervals", color=GREY)
    axes.set_title("Where the blend comes from")
    legend = legend_of(summary, [row["condition"] for row in rows])
    note(figure, f"{legend} {weight_of_one(summary['problems'])}".strip())
    return figure
