"""The probe: how far a blend moves the model's law, by beta and source."""

from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from powerblend.figures.probe_hard import beta_lines, curves_of, share_axis
from powerblend.figures.probe_ranks import about
from powerblend.figures.style import note, plain
from powerblend.vocabulary.measurements import MeasuredBlend
from powerblend.vocabulary.published import PublishedNumbers
from powerblend.vocabulary.summary import Summary

SMALLEST_KL = 1e-9
"""A KL below this is rounding, and has no place on a log scale."""


def draw(summary: Summary, published: PublishedNumbers) -> Figure:
    """Two panels over beta, KL and flips of the most likely token, with a line per source."""
    measured = summary.probe.measured
    if measured is None or not measured.blends:
        return plain("No KL over β to show: the probe was not run, or measured no blend.")
    figure, (left, right) = plt.subplots(1, 2, figsize=(8, 4))
    curves = curves_of(measured.blends)
    beta_lines(left, curves, _kl_to_show, at_zero=None)
    beta_lines(right, curves, lambda blend: blend.flips, at_zero=0.0)
    for first in summary.probe.conditions[:1]:
        left.axhline(first.kl, color="black", lw=1, ls=":", label=f"KL of {first.condition}")
    left.set_yscale("log")
    left.set_title("KL(p ‖ p_guided) per token, nats", size=10)
    right.set_title("Most likely token changed", size=10)
    share_axis(right)
    handles, labels = left.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=3)
    note(figure, about(measured), 110)
    return figure


def _kl_to_show(blend: MeasuredBlend) -> float | None:
    return blend.kl if blend.kl > SMALLEST_KL else None
