"""Ways of sampling p^alpha and votes of plain samples: accuracy, and what each decodes."""

from collections.abc import Sequence

from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from powerblend.figures.style import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    PALE,
    note,
    percent_axis,
    plain,
    weight_of_one,
)
from powerblend.vocabulary.published import PublishedNumbers
from powerblend.vocabulary.summary import KernelVote, Summary

WORDS = {
    "answer": "",
    "majority": ", majority of {k:.3g}",
    "log_p": ", best of {k:.3g} by log p",
    "mean_log_p": ", best of {k:.3g} by mean log p",
    "certainty": ", best of {k:.3g} by self-certainty",
    "sharpened": ", frequency^{gamma:g} of {k:.3g}",
    "rungs": ", vote of its rungs",
    "weights": ", vote of its particles",
}
"""What a label adds to the name of a condition."""

NEAR = 0.1
"""How far decoded tokens may be from the reference's, as a share, to be called equal."""


def draw(summary: Summary, published: PublishedNumbers) -> Figure:
    """Two panels with a line each per way: accuracies with intervals, and decoded tokens."""
    kernels = summary.kernels
    if kernels is None:
        return plain("No kernels to compare: every chain of this study is one of uniform cuts.")
    votes = kernels.votes
    figure, (left, right) = plt.subplots(
        1, 2, figsize=(8.6, 1.6 + 0.27 * len(votes)), sharey=True, width_ratios=(3, 2)
    )
    reference = votes[[vote.condition for vote in votes].index(kernels.reference)]
    _accuracies(left, votes, reference)
    _tokens(right, votes, reference)
    remark = (
        "Blue: an answer as it is; green: a vote of its own strings; orange: a choice among some "
        f"samples. Grey: within 10% of the decoded tokens of {kernels.reference}. Intervals are "
        "Wilson's over problems, and speak of one line at a time."
    )
    note(figure, f"{remark} {weight_of_one(summary.problems)}".strip(), 118)
    return figure


def label(vote: KernelVote) -> str:
    """A way, by its condition and how it chooses."""
    return vote.condition + WORDS[vote.vote].format(k=vote.k, gamma=vote.gamma or 0)


def _colour(vote: KernelVote) -> str:
    return {"answer": BLUE, "rungs": GREEN, "weights": GREEN}.get(vote.vote, ORANGE)


def _accuracies(axes: Axes, votes: Sequence[KernelVote], reference: KernelVote) -> None:
    axes.axvline(reference.accuracy, color=PALE, lw=1.2, zorder=0)
    for place, vote in enumerate(votes):
        axes.plot([vote.low, vote.high], [place, place], color=_colour(vote), lw=1.4)
        axes.plot(vote.accuracy, place, "o", color=_colour(vote), ms=5)
    axes.set_yticks(range(len(votes)), [label(vote) for vote in votes], fontsize=9)
    axes.set_ylim(len(votes) - 0.5, -0.5)
    percent_axis(axes)
    axes.set_xlabel("accuracy", color=GREY)
    axes.set_title("Accuracy", size=10)


def _tokens(axes: Axes, votes: Sequence[KernelVote], reference: KernelVote) -> None:
    middle = reference.decoded_tokens
    axes.axvspan((1 - NEAR) * middle, (1 + NEAR) * middle, color=PALE, zorder=0)
    for place, vote in enumerate(votes):
        axes.plot(vote.decoded_tokens, place, "o", color=_colour(vote), ms=5)
    axes.set_xlim(0, 1.1 * max(vote.decoded_tokens for vote in votes))
    axes.grid(True, axis="x")
    axes.set_xlabel("decoded tokens per problem", color=GREY)
    axes.set_title("What it decodes", size=10)
