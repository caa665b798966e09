"""By problem: whether parallel chains agree, and what weights leave of plain draws."""

from collections.abc import Sequence

from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from powerblend.figures.style import GREY, line_style, note, plain
from powerblend.vocabulary.published import PublishedNumbers
from powerblend.vocabulary.summary import ParallelChains, Reweighting, Summary

HIGHEST = 10.0
"""Where larger values of R-hat, and infinite ones, are drawn."""


def draw(summary: Summary, published: PublishedNumbers) -> Figure:
    """Two panels with problems from the easiest to the hardest, a line per condition."""
    found = summary.convergence
    if not found or not (found.parallel or found.reweighted):
        return plain("No parallel chains: with several samples and move_values: true there are.")
    figure, (left, right) = plt.subplots(1, 2, figsize=(9.5, 3.8))
    _r_hat(left, found.parallel, summary.problems)
    _weights(right, found.reweighted)
    remark = (
        "Problems are sorted for each line by itself. Left: those in which log p varies at all; at "
        f"{HIGHEST:g} are chains that stand still apart; what is below the dotted line agrees. "
        "Right: 1 is as good as draws of p^α themselves."
    )
    note(figure, remark, 135)
    return figure


def _r_hat(axes: Axes, parallel: Sequence[ParallelChains], problems: int) -> None:
    for index, chains in enumerate(parallel):
        values = [min(value, HIGHEST) for value in chains.r_hat] + [HIGHEST] * chains.stuck
        style = line_style(index)
        axes.axhline(chains.agreed_below, color=GREY, lw=1, ls=":", zorder=0)
        axes.plot(
            range(1, len(values) + 1), values, label=chains.condition, color=style.colour,
            marker=style.marker, ms=3, lw=1,
        )  # fmt: skip
    axes.set_yscale("log")
    axes.set_yticks([1, 1.1, 1.5, 2, 5, 10], ["1", "1.1", "1.5", "2", "5", "≥ 10"])
    axes.minorticks_off()
    axes.set_ylim(0.95, 1.1 * HIGHEST)
    axes.set_xlim(0, problems + 1)
    _panel(axes, "Split R-hat of log p", bool(parallel))


def _weights(axes: Axes, reweighted: Sequence[Reweighting]) -> None:
    for index, found in enumerate(reweighted):
        style = line_style(index)
        shares = [size / found.draws for size in reversed(found.effective)]
        axes.plot(
            range(1, len(shares) + 1), shares, label=f"{found.condition}, α = {found.alpha:g}",
            color=style.colour, marker=style.marker, ms=3, lw=1,
        )  # fmt: skip
    axes.set_ylim(0, 1.05)
    _panel(axes, "Effective share of weighted draws", bool(reweighted))


def _panel(axes: Axes, title: str, legend: bool) -> None:
    axes.grid(True)
    axes.set_xlabel("problems, sorted", color=GREY)
    axes.set_title(title, size=10)
    if legend:
        axes.legend(fontsize=8)
