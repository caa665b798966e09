"""Accuracy over α and β, where the study sweeps them."""

from collections.abc import Sequence

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter

from powerblend.analysis.sweep import Panel, best, panels, verdict, why_no_map
from powerblend.figures.style import GREY, PALE, note, plain, tick_label, weight_of_one
from powerblend.vocabulary.published import PublishedNumbers
from powerblend.vocabulary.summary import Summary, SweepPoint


def draw(summary: Summary, published: PublishedNumbers) -> Figure:
    """A heat map per `Panel`, the best settings framed, those not run grey."""
    if not summary.sweep:
        return plain(why_no_map(summary))
    maps = panels(summary)
    columns = min(2, len(maps))
    lines = -(-len(maps) // columns)
    most = max(len(_alphas(points)) for points in maps.values())
    figure, grid = plt.subplots(
        lines, columns, figsize=(4.0 * columns + 0.8, lines * (1.4 + 0.5 * most)), squeeze=False
    )
    shares = [point.accuracy for points in maps.values() for point in points]
    low, high = min(shares), max(shares)
    colours = ScalarMappable(Normalize(low, max(high, low + 0.01)), "cividis")
    for axes in grid.flat:
        axes.axis("off")
    for axes, (panel, points) in zip(grid.flat, maps.items(), strict=False):
        _heat_map(axes, panel, points, colours)
    figure.colorbar(colours, ax=grid, format=FuncFormatter(tick_label), shrink=0.9)
    remark = "β = 0 is the model's own law. The best cell of a sweep is the best by luck, too."
    note(figure, f"{remark} {weight_of_one(summary.problems)}".strip(), 50 * columns)
    return figure


def _alphas(points: Sequence[SweepPoint]) -> list[float]:
    return sorted({point.alpha or 0 for point in points})


def _betas(points: Sequence[SweepPoint]) -> list[float]:
    return sorted({point.beta or 0 for point in points})


def _heat_map(
    axes: Axes, panel: Panel, points: Sequence[SweepPoint], colours: ScalarMappable
) -> None:
    alphas, betas = _alphas(points), _betas(points)
    axes.axis("on")
    axes.set_facecolor(PALE)
    winners = best(points)
    for point in points:
        place = betas.index(point.beta or 0), alphas.index(point.alpha or 0)
        _square(axes, place, point.accuracy, colours)
        if point in winners:
            _frame(axes, place)
    axes.set_xlim(-0.5, len(betas) - 0.5)
    axes.set_ylim(-0.5, len(alphas) - 0.5)
    axes.set_xticks(range(len(betas)), [f"{beta:g}" for beta in betas])
    axes.set_yticks(range(len(alphas)), [f"{alpha:g}" if alpha else "—" for alpha in alphas])
    axes.tick_params(length=0)
    axes.set_xlabel("β", color=GREY)
    axes.set_ylabel("α", color=GREY)
    axes.set_title(f"{panel.title}\n{verdict(points)}", size=10)


def _square(axes: Axes, place: tuple[int, int], share: float, colours: ScalarMappable) -> None:
    x, y = place
    colour = colours.to_rgba(np.array([share]))[0]
    axes.fill_between([x - 0.5, x + 0.5], y - 0.5, y + 0.5, color=colour, lw=0)
    dark = sum(colour[:3]) < 1.5
    axes.text(x, y, f"{share:.1%}", ha="center", va="center", color="white" if dark else "black")


def _frame(axes: Axes, place: tuple[int, int]) -> None:
    corner = place[0] - 0.47, place[1] - 0.45
    axes.add_patch(Rectangle(corner, 0.94, 0.9, fill=False, edgecolor="black", lw=2))
