"""A blend less each of its controls: differences with their intervals, and the margin."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from powerblend.analysis.probe import source_label
from powerblend.figures.style import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    PALE,
    RED,
    note,
    plain,
    weight_of_one,
)
from powerblend.vocabulary.published import PublishedNumbers
from powerblend.vocabulary.summary import ContrastResult, Control, ControlledBlend, Summary

COLOURS = {"plain": BLUE, "temperature": ORANGE, "noise": RED, "source": GREEN}
MARKERS = {None: "o", "kl": "s", "scale": "D"}


class Line(NamedTuple):
    """A difference to draw."""

    label: str
    kind: str
    matched: str | None
    contrast: ContrastResult


def draw(summary: Summary, published: PublishedNumbers) -> Figure:
    """A panel per blended condition, a line per control whose contrast is declared."""
    panels = [(blend, list(_lines(blend))) for blend in summary.controls]
    panels = [(blend, lines) for blend, lines in panels if lines]
    if not panels:
        return plain("No controls to compare: no blend was matched to another's KL or scale.")
    heights = [len(lines) + 1 for _, lines in panels]
    figure, grid = plt.subplots(
        *(len(panels), 1),
        figsize=(8.2, 1.5 + 0.33 * sum(heights)),
        sharex=True,
        squeeze=False,
        height_ratios=heights,
    )
    for axes, (blend, lines) in zip(grid[:, 0], panels, strict=True):
        _panel(axes, blend, lines)
    grid[-1, 0].set_xlabel("difference of accuracies, in points", color=GREY)
    remark = (
        "Right of 0 the blend is more accurate. Blue: without the blend; orange: another exponent "
        "instead; red: noise instead; green: another source. Squares have the blend's KL, diamonds "
        "its scale. Grey band: the margin within which differences count as none. Intervals are "
        "not adjusted."
    )
    note(figure, f"{remark} {weight_of_one(summary.problems)}".strip(), 112)
    return figure


def _lines(blend: ControlledBlend) -> Iterator[Line]:
    if blend.plain_contrast is not None:
        yield Line(f"{blend.plain}", "plain", None, blend.plain_contrast)
    for control in blend.controls:
        if control.contrast is not None:
            yield Line(_label(control), control.kind, control.matched, control.contrast)


def _label(control: Control) -> str:
    measured = control.measured
    if control.alpha is not None:
        return f"{measured.condition} (α = {control.alpha:.3g})"
    return f"{measured.condition} ({source_label(measured)}, β = {measured.beta:.2g})"


def _panel(axes: Axes, blend: ControlledBlend, lines: Sequence[Line]) -> None:
    margin = lines[0].contrast.margin
    axes.axvspan(-100 * margin, 100 * margin, color=PALE, zorder=0)
    axes.axvline(0, color=GREY, lw=0.8, zorder=1)
    for place, line in enumerate(lines):
        colour, contrast = COLOURS[line.kind], line.contrast
        axes.plot([100 * contrast.low, 100 * contrast.high], [place] * 2, color=colour, lw=1.4)
        marker = MARKERS[line.matched]
        axes.plot(100 * contrast.difference, place, marker, color=colour, ms=6)
    axes.set_yticks(range(len(lines)), [line.label for line in lines], fontsize=9)
    axes.set_ylim(len(lines) - 0.5, -0.5)
    axes.xaxis.set_major_formatter(FuncFormatter(_signed))
    axes.grid(True, axis="x")
    axes.set_title(f"{blend.measured.condition} less", size=10)


def _signed(value: float, _: int | None = None) -> str:
    return f"{value:+g}".replace("-", "−") if value else "0"
