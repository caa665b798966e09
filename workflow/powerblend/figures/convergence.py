"""Short chains beside a long run: accuracy, log p, and distance against decoded tokens."""

from collections.abc import Sequence
from itertools import chain

from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from powerblend.figures.style import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    PALE,
    RED,
    LineStyle,
    log_axis,
    note,
    percent_axis,
    plain,
    weight_of_one,
)
from powerblend.vocabulary.published import PublishedNumbers
from powerblend.vocabulary.summary import Distance, DistanceFromLongRun, Noise, Summary

KERNELS = {"exact": LineStyle(BLUE, "o"), "published": LineStyle(RED, "s")}
OTHERS = (LineStyle(ORANGE, "D"), LineStyle(GREEN, "^"), LineStyle(GREY, "v"))

Ends = tuple[float, float | None, float | None]
"""A value and its interval."""


def draw(summary: Summary, published: PublishedNumbers) -> Figure:
    """Three panels over the same decoded tokens, a line per kernel and a point per other way."""
    run = summary.convergence and summary.convergence.long_run
    if not run:
        return plain("No long run stands for p^α here: name one as long_run.")
    figure, axes = plt.subplots(1, 3, figsize=(10.5, 4.0))
    result = next(of for of in summary.overall if of.condition == run.condition)
    panels: dict[str, list[Ends]] = {
        "Accuracy": [(of.accuracy, of.low, of.high) for of in run.distances],
        "Log p less the long run's": [_ends(of.gain) for of in run.distances],
        "Energy distance of log p": [_ends(of.energy) for of in run.distances],
    }
    for panel, (title, values) in zip(axes, panels.items(), strict=True):
        _curves(panel, run.distances, values)
        _tokens_axis(panel, run.distances)
        panel.set_title(title, size=10)
    axes[0].axhline(result.accuracy, color=GREY, lw=1, ls=":", zorder=0)
    percent_axis(axes[0], "y")
    _noise(axes[1], run.gain_noise)
    _noise(axes[2], run.energy_noise)
    for axis in axes[1:]:
        axis.set_ylabel("nats", color=GREY)
        axis.set_yscale("symlog", linthresh=1.0)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=6)
    remark = (
        f"Numbers: moves per block. Bars: 95% intervals over problems. Dotted: {run.condition}, "
        "the long run. Grey: 95% of what the long run's own states show, were they the answers."
    )
    note(figure, f"{remark} {weight_of_one(summary.problems)}".strip(), 150)
    return figure


def _ends(found: Distance) -> Ends:
    return found.value, found.low, found.high


def _curves(axes: Axes, distances: Sequence[DistanceFromLongRun], values: Sequence[Ends]) -> None:
    places = list(zip(distances, values, strict=True))
    for kernel, style in KERNELS.items():
        # Without a move, all kernels are one.
        own = [place for place in places if _is_of(place[0], kernel)]
        if any(of.kernel == kernel for of, _ in own):
            _line(axes, sorted(own, key=lambda place: place[0].steps), f"{kernel} kernel", style)
    others = [place for place in places if place[0].kernel is None]
    for place, style in zip(others, chain(OTHERS, [OTHERS[-1]] * len(others)), strict=False):
        _line(axes, [place], place[0].condition, style, labelled=False)


def _is_of(distance: DistanceFromLongRun, kernel: str) -> bool:
    return distance.kernel == kernel or (distance.kernel is not None and not distance.steps)


def _line(
    axes: Axes,
    places: Sequence[tuple[DistanceFromLongRun, Ends]],
    label: str,
    style: LineStyle,
    labelled: bool = True,
) -> None:
    tokens = [of.decoded_tokens for of, _ in places]
    heights = [value for _, (value, *_) in places]
    axes.plot(
        tokens, heights, label=label, color=style.colour, marker=style.marker, ms=5, lw=1.3,
        mfc="white", zorder=3,
    )  # fmt: skip
    for (of, (value, low, high)), x in zip(places, tokens, strict=True):
        if low is not None and high is not None:
            axes.plot([x, x], [low, high], color=style.colour, lw=0.9, alpha=0.6)
        if labelled:
            axes.annotate(
                str(of.steps), (x, value), (0, 6), textcoords="offset points", fontsize=7,
                ha="center", color=style.colour,
            )  # fmt: skip


def _tokens_axis(axes: Axes, distances: Sequence[DistanceFromLongRun]) -> None:
    tokens = [of.decoded_tokens for of in distances]
    log_axis(axes, tokens, 1.2)
    axes.grid(True)
    axes.set_xlabel("decoded tokens per answer", color=GREY)


def _noise(axes: Axes, noise: Noise) -> None:
    axes.axhspan(noise.low, noise.high, color=PALE, zorder=0)
    axes.axhline(0, color=GREY, lw=1, ls=":", zorder=0)
