"""A draft model as the source of the blend, against no blend and a layer's."""

from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from powerblend.analysis.roles import beside_draft_conditions, draft_conditions
from powerblend.figures.style import (
    GREY,
    colour_of,
    interval_bars,
    legend_of,
    note,
    plain,
    weight_of_one,
)
from powerblend.vocabulary.published import PublishedNumbers
from powerblend.vocabulary.summary import Summary


def draw(summary: Summary, published: PublishedNumbers) -> Figure:
    """A bar per condition that draws as a draft condition does."""
    if not draft_conditions(summary):
        return plain("This study has no condition that blends with a draft model.")
    names = beside_draft_conditions(summary)
    results = [result for result in summary.overall if result.condition in names]
    figure, axes = plt.subplots(figsize=(7, 1.5 + 0.4 * len(results)))
    interval_bars(axes, results, [colour_of(summary, name) for name in names])
    axes.set_xlabel(f"accuracy, with {summary.confidence:.0%} Wilson intervals", color=GREY)
    axes.set_title("Where the blend comes from")
    note(figure, f"{legend_of(summary, names)} {weight_of_one(summary.problems)}".strip())
    return figure
