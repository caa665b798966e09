"""How the conditions are made: a law of the next token, and a way of drawing from it."""

from collections.abc import Mapping, Sequence
from textwrap import fill
from typing import Literal, NamedTuple

from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from powerblend.analysis.roles import DRAFT
from powerblend.figures.style import BLUE, GREEN, GREY, ORANGE, PALE, plain
from powerblend.vocabulary.measurements import BlendSettings
from powerblend.vocabulary.published import PublishedNumbers
from powerblend.vocabulary.summary import Condition, Summary

WIDTH, MODEL, DISTRIBUTION, GRID = 11.0, 0.1, 2.35, 5.55
"""The figure's width and where its columns start, in inches; conditions are in a grid."""


class Distribution(NamedTuple):
    """A distribution of the next token: its name, its formula and its colour."""

    name: str
    formula: str
    colour: str


class Way(NamedTuple):
    """A way of drawing from it: its name, and how it goes."""

    name: str
    how: str


Grid = dict[tuple[Distribution, Way], list[str]]
"""Names of conditions by what they draw from and how."""


def draw(summary: Summary, published: PublishedNumbers) -> Figure:
    """Distributions below each other, samplers side by side, and the conditions between them."""
    if not summary.conditions:
        return plain("No architecture to show: the study has no conditions.")
    grid = grid_of(summary.conditions)
    distributions = list(dict.fromkeys(distribution for distribution, _ in grid))
    ways = list(dict.fromkeys(way for _, way in grid))
    heights = [_height(grid, distribution, ways) for distribution in distributions]
    total = sum(heights) + 1.15
    figure, axes = plt.subplots(figsize=(WIDTH, total))
    axes.set_xlim(0, WIDTH)
    axes.set_ylim(total, 0)
    axes.set_aspect("equal")
    axes.axis("off")
    width = (WIDTH - GRID) / len(ways)
    _headings(axes, ways, width)
    _model(axes, 1.1, total - 0.1, any(d.colour == GREEN for d in distributions))
    top = 1.05
    for distribution, height in zip(distributions, heights, strict=True):
        names = [grid.get((distribution, way), []) for way in ways]
        _distribution(axes, distribution, top, height, names, width)
        top += height
    return figure


def grid_of(conditions: Mapping[str, Condition]) -> Grid:
    """The conditions by their distribution and their sampler."""
    grid: Grid = {}
    for name, condition in conditions.items():
        way = Way(condition.description.title, condition.description.how)
        grid.setdefault((_distribution_of(condition.blend), way), []).append(name)
    return grid


def _distribution_of(blend: BlendSettings | None) -> Distribution:
    if blend is None:
        return Distribution("the model's law, p", "softmax(lm_head(h_final))", BLUE)
    beta = f"β = {blend.beta:g}"
    if blend.source == DRAFT:
        formula = "softmax((1−β)·z_target + β·z_draft)"
        return Distribution(f"draft-guided, {beta}", formula, GREEN)
    source = blend.source if blend.layer is None else f"layer {blend.layer}"
    norm = ", after the final norm" if blend.norm == "final" else ""
    state = f"h_{blend.source if blend.layer is None else blend.layer}"
    state = f"norm({state})" if norm else state
    formula = f"softmax(lm_head((1−β)·h_final + β·{state}))"
    return Distribution(f"guided by {source}{norm}, {beta}", formula, ORANGE)


def _height(grid: Grid, distribution: Distribution, ways: Sequence[Way]) -> float:
    most = max(len(grid.get((distribution, way), [])) for way in ways)
    return max(0.85, 0.3 + 0.2 * most)


def _headings(axes: Axes, ways: Sequence[Way], width: float) -> None:
    axes.text(DISTRIBUTION, 0.3, "what is drawn from", weight="bold", va="center")
    _subheading(axes, DISTRIBUTION, "the law of the next token", "left")
    for index, way in enumerate(ways):
        centre = GRID + (index + 0.5) * width
        axes.text(centre, 0.3, way.name, weight="bold", ha="center", va="center")
        _subheading(axes, centre, way.how, "center")


def _subheading(axes: Axes, at: float, words: str, align: Literal["left", "center"]) -> None:
    axes.text(at, 0.68, words, ha=align, va="center", fontsize=8.5, color=GREY)


def _model(axes: Axes, top: float, bottom: float, draft: bool) -> None:
    axes.text(MODEL, 0.3, "one forward pass", weight="bold", va="center")
    _box(axes, MODEL, top, 1.75, bottom - top, PALE, GREY)
    words = "decoder blocks\n0 … ℓ … final" + ("\n+ draft model" if draft else "")
    axes.text(MODEL + 0.875, (top + bottom) / 2, words, ha="center", va="center", fontsize=9)


def _distribution(
    axes: Axes,
    distribution: Distribution,
    top: float,
    height: float,
    names: Sequence[Sequence[str]],
    width: float,
) -> None:
    """A distribution with, to its right, the names of the conditions of each way."""
    middle = top + height / 2
    _arrow(axes, MODEL + 1.8, DISTRIBUTION - 0.04, middle)
    _box(axes, DISTRIBUTION, top + 0.07, 2.85, height - 0.14, "white", distribution.colour)
    start, words = DISTRIBUTION + 0.1, fill(distribution.name, 40)
    axes.text(start, middle - 0.15, words, va="center", fontsize=8.5, weight="bold")
    axes.text(start, middle + 0.14, distribution.formula, va="center", fontsize=7)
    _arrow(axes, DISTRIBUTION + 2.9, GRID - 0.02, middle)
    for index, inside in enumerate(names):
        left = GRID + index * width + 0.05
        _box(axes, left, top + 0.07, width - 0.1, height - 0.14, "white", PALE)
        axes.text(
            left + width / 2 - 0.05, middle, "\n".join(inside) or "—", ha="center", va="center",
            fontsize=9, color=distribution.colour if inside else GREY,
            weight="bold" if inside else "normal",
        )  # fmt: skip


def _box(
    axes: Axes, left: float, top: float, width: float, height: float, face: str, edge: str
) -> None:
    style = "round,pad=0,rounding_size=0.06"
    axes.add_patch(
        FancyBboxPatch((left, top), width, height, boxstyle=style, fc=face, ec=edge, lw=1.5)
    )


def _arrow(axes: Axes, start: float, end: float, height: float) -> None:
    style = {"arrowstyle": "-|>", "color": GREY, "lw": 1.1, "shrinkA": 0, "shrinkB": 0}
    axes.annotate("", (end, height), (start, height), arrowprops=style)
