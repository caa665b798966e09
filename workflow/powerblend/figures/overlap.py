"""Which problems two conditions solve: both, one of them, neither."""

from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from powerblend.analysis.roles import main_overlap
from powerblend.figures.style import GREY, PALE, colour_of, note, plain, weight_of_one
from powerblend.vocabulary.published import PublishedNumbers
from powerblend.vocabulary.summary import Summary


def draw(summary: Summary, published: PublishedNumbers) -> Figure:
    """A bar per category; only the middle two tell the conditions apart."""
    pair = main_overlap(summary)
    if pair is None:
        return plain("No overlap to show: it takes two conditions that answer the same problems.")
    a, b = pair.a, pair.b
    counts = [pair.both, pair.only_a, pair.only_b, pair.neither]
    labels = ["both", f"only {a}", f"only {b}", "neither"]
    figure, axes = plt.subplots(figsize=(7, 2.5))
    second = colour_of(summary, b)
    hatches = ["", "", "//" if second == colour_of(summary, a) else "", ""]
    bars = axes.barh(
        labels, counts, height=0.62, color=[GREY, colour_of(summary, a), second, PALE],
        hatch=hatches, edgecolor="white", linewidth=0,
    )  # fmt: skip
    axes.bar_label(bars, padding=4)
    axes.invert_yaxis()
    axes.set_xlim(0, max(1, *counts) * 1.12)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(True, axis="x")
    which = ", by each condition's first sample" if summary.samples > 1 else ""
    axes.set_xlabel(f"problems{which}", color=GREY)
    axes.set_title(f"Problems that {a} and {b} solve")
    remark = f"{b} gains {pair.only_b} and loses {pair.only_a} against {a}."
    note(figure, f"{remark} {weight_of_one(summary.problems)}".strip())
    return figure
