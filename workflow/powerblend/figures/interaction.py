"""Whether the blend helps power sampling more than it helps greedy decoding."""

from typing import NamedTuple

from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from powerblend.analysis.interaction import interaction_contrast, quartet
from powerblend.figures.style import BLUE, GREY, ORANGE, note, percent_axis, plain
from powerblend.vocabulary.published import PublishedNumbers
from powerblend.vocabulary.summary import ConditionResult, Summary


class Line(NamedTuple):
    """A sampler's two accuracies, unblended and blended, and how they are drawn."""

    label: str
    results: tuple[ConditionResult, ConditionResult]
    colour: str
    marker: str
    shift: float  # to one side, so that intervals do not cover each other


def draw(summary: Summary, published: PublishedNumbers) -> Figure:
    """A line per sampler, from the model's law to the blended one: parallel if none interacts."""
    four = quartet(summary)
    if four is None:
        return plain(
            "No interaction to show: it takes greedy decoding and power sampling, each with and "
            "without the same blend."
        )
    found = {result.condition: result for result in summary.overall}
    figure, axes = plt.subplots(figsize=(6.2, 3.8))
    greedy_pair = found[four.greedy], found[four.blend_greedy]
    power_pair = found[four.power], found[four.blend_power]
    greedy = Line("greedy decoding", greedy_pair, BLUE, "o", -0.02)
    power = Line("power sampling", power_pair, ORANGE, "s", 0.02)
    _draw_line(axes, greedy, power)
    _draw_line(axes, power, greedy)
    axes.set_xticks([0, 1], ["the model's law", "blended law"])
    axes.set_xlim(-0.45, 1.45)
    axes.margins(y=0.15)
    percent_axis(axes, "y")
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.1), ncols=2)
    axes.set_title("Blend × sampler")
    axes.set_ylabel("accuracy", color=GREY)
    note(figure, _remark(summary), 90)
    return figure


def _draw_line(axes: Axes, line: Line, other: Line) -> None:
    shares = [result.accuracy for result in line.results]
    # At 0 and at 1 an interval may begin past its accuracy by a rounding error.
    spread = [
        [max(0.0, result.accuracy - result.low) for result in line.results],
        [max(0.0, result.high - result.accuracy) for result in line.results],
    ]
    axes.errorbar(
        [place + line.shift for place in (0, 1)], shares, spread, label=line.label, capsize=3,
        lw=1.8, elinewidth=0.9, color=line.colour, marker=line.marker,
    )  # fmt: skip
    for place, ours, theirs in zip((0, 1), line.results, other.results, strict=True):
        above = (ours.accuracy, line.shift) > (theirs.accuracy, -line.shift)
        axes.annotate(
            f"{ours.accuracy:.1%}",
            (place - 0.04 if place == 0 else place + 0.04, ours.accuracy),
            (-5 if place == 0 else 5, 3 if above else -3),
            textcoords="offset points",
            ha="right" if place == 0 else "left",
            va="bottom" if above else "top",
            color=line.colour,
            weight="bold",
        )


def _remark(summary: Summary) -> str:
    bars = f"Bars: {summary.confidence:.0%} Wilson intervals of one condition each."
    contrast = interaction_contrast(summary)
    if contrast is None:
        return bars
    low, high = contrast.low, contrast.high
    interval = (
        f" ({100 * low:+.1f} to {100 * high:+.1f})" if low is not None and high is not None else ""
    )
    effect = f"Interaction {100 * contrast.difference:+.1f} points{interval}".replace("-", "−")
    return f"{effect}: {contrast.verdict}. {bars}"
