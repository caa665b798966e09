"""How the chains moved: acceptance and the target's log density per token, block by block."""

from collections.abc import Iterable, Sequence

from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from powerblend.figures.style import GREY, line_style, note, percent_axis, plain
from powerblend.vocabulary.published import PublishedNumbers
from powerblend.vocabulary.summary import ChainProgress, Summary


def draw(summary: Summary, published: PublishedNumbers) -> Figure:
    """Two panels with a line per condition that runs a chain."""
    chains = [chain for chain in summary.chains if chain.acceptance_by_block]
    if not chains:
        return plain("No chain to diagnose: no condition of this study runs Metropolis–Hastings.")
    rows = -(-len(chains) // 3)
    figure, (left, right) = plt.subplots(1, 2, figsize=(8, 3.2 + 0.22 * rows))
    _lines(left, ((chain, chain.acceptance_by_block) for chain in chains))
    _lines(right, ((chain, chain.log_t_per_token_by_block) for chain in chains))
    left.set_ylim(0, 1.05)
    percent_axis(left, "y")
    left.set_title("Moves accepted", size=10)
    right.grid(True, axis="y")
    right.set_title("Log target density per token", size=10)
    handles, labels = left.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=min(3, len(chains)))
    note(
        figure,
        "At the end of each block. The states of a later block are longer strings: a line that "
        "rises or falls is no chain that does. Different targets are not on one scale.",
        110,
    )
    return figure


def _lines(axes: Axes, lines: Iterable[tuple[ChainProgress, Sequence[float]]]) -> None:
    longest = 1
    for index, (chain, values) in enumerate(lines):
        longest = max(longest, len(values))
        blocks = range(1, len(values) + 1)
        colour, marker = line_style(index)
        axes.plot(blocks, values, label=chain.condition, ms=5, lw=1.4, color=colour, marker=marker)
    axes.set_xlim(0.5, longest + 0.5)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8))
    axes.set_xlabel("block", color=GREY)
