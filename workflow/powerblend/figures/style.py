"""How every figure looks: readable in print, without colour vision, and at half a page's width."""

from collections.abc import Sequence
from textwrap import fill
from typing import Any, NamedTuple

from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, ScalarFormatter

from powerblend.analysis.roles import DRAFT
from powerblend.analysis.small_numbers import is_small
from powerblend.vocabulary.summary import ConditionResult, Summary

# Okabe & Ito, "Color Universal Design" (2008).
BLUE, ORANGE, GREEN, GREY = "#0072B2", "#E69F00", "#009E73", "#6E6E6E"
RED, PURPLE, SKY, BLACK = "#D55E00", "#CC79A7", "#56B4E9", "#000000"
PALE = "#E4E4E4"
LINES = (BLUE, ORANGE, GREEN, RED, PURPLE, SKY, BLACK)
MARKERS = "os^Dvph<>8dP"

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
    if not is_small(problems):
        return ""
    return f"Only {problems} problems: each moves an accuracy by {100 / problems:.1f} points."


def colour_of(summary: Summary, name: str) -> str:
    """Blue for the model's own distribution, orange for a blended one, green for a draft's."""
    blend = summary.conditions[name].blend
    if blend is None:
        return BLUE
    return GREEN if blend.source == DRAFT else ORANGE


def legend_of(summary: Summary, names: Sequence[str]) -> str:
    """What the colours of some conditions mean, as far as they differ."""
    meanings = {BLUE: "the model's own law", ORANGE: "blended with states of its own"}
    meanings[GREEN] = "blended with a draft model"
    words = {BLUE: "Blue", ORANGE: "orange", GREEN: "green"}
    used = {colour_of(summary, name) for name in names}
    parts = [f"{words[colour]}: {meanings[colour]}" for colour in words if colour in used]
    return "; ".join(parts).capitalize() + "." if len(parts) > 1 else ""


class LineStyle(NamedTuple):
    """Colour and marker of a line."""

    colour: str
    marker: str


def line_style(index: int) -> LineStyle:
    """That of the nth line of a figure: told apart in print, too."""
    return LineStyle(LINES[index % len(LINES)], MARKERS[index % len(MARKERS)])


def percent_axis(axes: Axes, axis: str = "x") -> None:
    """Percentages with a grid along one axis."""
    getattr(axes, f"{axis}axis").set_major_formatter(FuncFormatter(tick_label))
    axes.grid(True, axis=axis)  # type: ignore[arg-type]


def tick_label(share: float, _: int | None = None) -> str:
    """A tick's percentage, unrounded: on a zoomed axis ticks may be at 62.5%."""
    return f"{round(100 * share, 6):g}%"


def interval_bars(axes: Axes, results: Sequence[ConditionResult], colours: Sequence[str]) -> None:
    """A bar per condition, with its interval and its counts."""
    names = [result.condition for result in results]
    axes.barh(names, [result.accuracy for result in results], color=colours, height=0.62)
    for result in results:
        name, low, high = result.condition, result.low, result.high
        axes.plot([low, high], [name] * 2, color="black", lw=1.2, marker="|", ms=6)
        axes.annotate(
            f"{result.accuracy:.1%}  ({result.correct}/{result.total})",
            (high, name),
            (6, 0),
            textcoords="offset points",
            va="center",
            fontsize=9,
        )
    axes.set_ylim(len(results) - 0.5, -0.5)
    axes.set_xlim(0, 1.32)
    axes.set_xticks([tick / 5 for tick in range(6)])
    axes.spines["bottom"].set_bounds(0, 1)
    percent_axis(axes)


def log_axis(axes: Axes, values: Sequence[float], margin: float) -> None:
    """A horizontal axis by ratios, in plain numbers, so many times wider than its values."""
    axes.set_xscale("log")
    axes.set_xlim(min(values) / margin, max(values) * margin)
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(ScalarFormatter())
    axes.xaxis.set_minor_formatter(NullFormatter())
