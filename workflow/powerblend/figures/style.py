"""How every figure looks: readable in print, without colour vision, and at half a page's width."""

from collections.abc import Mapping, Sequence
from textwrap import fill
from typing import Any

from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

# Okabe & Ito, "Color Universal Design" (2008).
BLUE, ORANGE, GREEN, GREY = "#0072B2", "#E69F00", "#009E73", "#6E6E6E"
RED, PURPLE, SKY, BLACK = "#D55E00", "#CC79A7", "#56B4E9", "#000000"
PALE = "#E4E4E4"
LINES = (BLUE, ORANGE, GREEN, RED, PURPLE, SKY, BLACK)
MARKERS = "os^Dvph<>8dP"

FEW = 30
"""Fewer problems than this and a figure says how much one of them weighs."""

STYLE: dict[Any, Any] = {
    "figure.dpi": 150,
    "figure.constrained_layout.use": True,
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.axisbelow": True,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "grid.color": "#DDDDDD",
    "savefig.facecolor": "white",
    # Ids that do not change from one drawing to the next.
    "svg.hashsalt": "powerblend",
}


def plain(message: str) -> Figure:
    """A figure with nothing to draw, which says why."""
    figure, axes = plt.subplots(figsize=(7, 1.3))
    axes.axis("off")
    axes.text(0.5, 0.5, fill(message, 80), ha="center", va="center", color=GREY)
    return figure


def note(figure: Figure, text: str, width: int = 100) -> None:
    """A remark under a figure, in small print."""
    figure.supxlabel(fill(text, width), x=0.01, ha="left", fontsize=8, color=GREY)


def weight_of_one(problems: int) -> str:
    """What a reader of a small study must know, or nothing."""
    if problems >= FEW:
        return ""
    return f"Only {problems} problems: each moves an accuracy by {100 / problems:.1f} points."


def colour_of(summary: Mapping[str, Any], name: str) -> str:
    """Blue for the model's own law, orange for a blended one, green for a draft's blend."""
    blend = summary.get("conditions", {}).get(name, {}).get("blend")
    if blend is not None and blend["source"] == "draft":
        return GREEN
    return ORANGE if blend is not None or name in summary.get("blended", ()) else BLUE


def legend_of(summary: Mapping[str, Any], names: Sequence[str]) -> str:
    """What the colours of some conditions mean, as far as they differ."""
    meanings = {BLUE: "the model's own law", ORANGE: "blended with a layer of it"}
    meanings[GREEN] = "blended with a draft model"
    words = {BLUE: "Blue", ORANGE: "orange", GREEN: "green"}
    used = {colour_of(summary, name) for name in names}
    parts = [f"{words[colour]}: {meanings[colour]}" for colour in words if colour in used]
    return "; ".join(parts).capitalize() + "." if len(parts) > 1 else ""


def line_style(index: int) -> dict[str, Any]:
    """Colour and marker of the nth line of a figure: told apart in print, too."""
    return {"color": LINES[index % len(LINES)], "marker": MARKERS[index % len(MARKERS)]}


def percent_axis(axes: Axes, axis: str = "x") -> None:
    """Percentages with a grid along one axis."""
    getattr(axes, f"{axis}axis").set_major_formatter(FuncFormatter(tick_label))
    axes.grid(True, axis=axis)  # type: ignore[arg-type]


def tick_label(share: float, _: int | None = None) -> str:
    """A tick's percentage, unrounded: on a zoomed axis ticks may be at 62.5%."""
    return f"{round(100 * share, 6):g}%"


def interval_bars(axes: Axes, rows: Sequence[Mapping[str, Any]], colours: Sequence[str]) -> None:
    """A bar per row of the overall table, with its interval and its counts."""
    names = [row["condition"] for row in rows]
    axes.barh(names, [row["accuracy"] for row in rows], color=colours, height=0.62)
    for row in rows:
        centre, low, high = row["accuracy"], row["low"], row["high"]
        axes.plot([low, high], [row["condition"]] * 2, color="black", lw=1.2, marker="|", ms=6)
        axes.annotate(
            f"{centre:.1%}  ({row['correct']}/{row['total']})",
            (high, row["condition"]),
            (6, 0),
            textcoords="offset points",
            va="center",
            fontsize=9,
        )
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xlim(0, 1.32)
    axes.set_xticks([tick / 5 for tick in range(6)])
    axes.spines["bottom"].set_bounds(0, 1)
    percent_axis(axes)


def source_label(row: Mapping[str, Any]) -> str:
    """What a blend's logits come from: ``layer 27, norm none``, or ``draft``."""
    if row.get("layer") is None:
        return str(row["source"])
    return f"{row['source']} {row['layer']}, norm {row['norm']}"
