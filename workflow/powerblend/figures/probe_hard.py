"""The probe: on how many hard tokens a blend ranks the text's token better than the model does."""

import math
from collections.abc import Callable, Sequence

from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from powerblend.analysis.probe import source_label
from powerblend.analysis.small_numbers import is_small
from powerblend.figures.probe_ranks import about
from powerblend.figures.style import GREY, line_style, note, percent_axis, plain
from powerblend.vocabulary.measurements import MeasuredBlend
from powerblend.vocabulary.published import PublishedNumbers
from powerblend.vocabulary.summary import Summary

Curves = dict[str, list[MeasuredBlend]]

DASHES = {"none": "-", "final": "--"}
"""A line's style tells the norm, its colour the layer."""


def draw(summary: Summary, published: PublishedNumbers) -> Figure:
    """Two panels, all tokens and hard ones, with a line over beta per source."""
    measured = summary.probe.measured
    if measured is None or not measured.blends:
        return plain("No blends over β to show: the probe was not run, or measured none.")
    figure, panels = plt.subplots(1, 2, figsize=(8, 3.8))
    curves = curves_of(measured.blends)
    beta_lines(panels[0], curves, lambda blend: blend.better, at_zero=0.0)
    beta_lines(panels[1], curves, lambda blend: blend.hard_better, at_zero=0.0)
    for axes in panels:
        share_axis(axes)
    hard = measured.hard_tokens
    panels[0].set_title("All tokens", size=10)
    panels[1].set_title(f"Hard tokens (p < {measured.hard:g}; n = {hard})", size=10)
    panels[0].set_ylabel("ranked better than by the model", color=GREY)
    if not hard:
        panels[1].text(
            0.5, 0.5, "there are none", color=GREY, transform=panels[1].transAxes, ha="center"
        )
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=3)
    note(figure, f"{about(measured)} {_caveat(hard)}".strip(), 110)
    return figure


def curves_of(blends: Sequence[MeasuredBlend]) -> Curves:
    """The blends of each source by beta, under its label; layers in order, a draft last."""
    curves: Curves = {}
    for blend in sorted(blends, key=_order):
        curves.setdefault(source_label(blend), []).append(blend)
    return curves


def beta_lines(
    axes: Axes,
    curves: Curves,
    measure: Callable[[MeasuredBlend], float | None],
    at_zero: float | None,
) -> None:
    """A line per source over the betas, evenly spaced; 0 is among them, where nothing is blended.

    ``at_zero`` is the measure there; None leaves a gap, as it does elsewhere.
    """
    betas = sorted({0.0, *(blend.beta for curve in curves.values() for blend in curve)})
    layers = list(dict.fromkeys(curve[0].layer for curve in curves.values()))
    for label, curve in curves.items():
        values = {0.0: at_zero} | {blend.beta: measure(blend) for blend in curve}
        heights = {beta: math.nan if value is None else value for beta, value in values.items()}
        places = sorted(heights)
        colour, marker = line_style(layers.index(curve[0].layer))
        axes.plot(
            [betas.index(beta) for beta in places],
            [heights[beta] for beta in places],
            label=label,
            color=colour,
            marker=marker,
            ls=DASHES.get(curve[0].norm or "", ":"),
            lw=1.4,
            ms=6,
            mfc="none",  # hollow, so that lines in one place can all be seen
        )
    axes.set_xticks(range(len(betas)), [f"{beta:g}".replace("-", "−") for beta in betas], size=8)
    axes.axvline(betas.index(0.0), color=GREY, lw=0.8)
    axes.set_xlabel("β", color=GREY)
    axes.grid(True, axis="y")


def share_axis(axes: Axes) -> None:
    """Shares from 0 up."""
    axes.set_ylim(0, max(0.01, axes.get_ylim()[1]))
    percent_axis(axes, "y")


def _order(blend: MeasuredBlend) -> tuple[bool, int, str, float]:
    return blend.layer is None, blend.layer or 0, blend.norm or "", blend.beta


def _caveat(hard: int) -> str:
    if hard and is_small(hard):
        return f"Only {hard} are hard: each is {1 / hard:.1%}."
    return ""
