"""The training of a draft: its loss, and what it predicts right by offset in the block."""

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from matplotlib.ticker import ScalarFormatter

from powerblend.figures.style import BLUE, GREY, ORANGE, PALE, note, percent_axis, plain
from powerblend.vocabulary.published import PublishedNumbers
from powerblend.vocabulary.summary import Summary

SMOOTHED_STEPS = 10
"""Steps whose losses are averaged for the line."""


def draw(summary: Summary, published: PublishedNumbers) -> Figure:
    """Two panels: loss by step, and accuracy by offset on answers not trained on."""
    training = summary.training
    if training is None:
        return plain("This study trains no draft model.")
    losses = np.array(training.losses)
    figure, (left, right) = plt.subplots(1, 2, figsize=(8, 3.4))
    left.plot(losses, color=PALE, lw=1)
    width = min(SMOOTHED_STEPS, len(losses))
    mean = np.convolve(losses, np.ones(width) / width, "valid")
    left.plot(np.arange(len(mean)) + (width - 1) / 2, mean, color=BLUE)
    left.set_yscale("log")
    left.yaxis.set_major_formatter(ScalarFormatter())
    left.yaxis.set_minor_formatter(ScalarFormatter())
    left.set_xlabel("step", color=GREY)
    left.set_title("Training loss, nats per token", size=10)
    left.grid(True, axis="y")
    for quality, label, colour in (
        (training.held_out_quality, "drawn at T = 1", BLUE),
        (training.greedy_quality, "greedy", ORANGE),
    ):
        offsets = range(1, len(quality.by_offset) + 1)
        right.plot(offsets, quality.by_offset, "o-", ms=4, color=colour, label=label)
    right.set_ylim(0, 1)
    right.set_xlabel("offset in the block", color=GREY)
    right.set_title("The draft's first choice is right", size=10)
    percent_axis(right, "y")
    right.legend(title="the target's answers", fontsize=8, title_fontsize=8)
    note(
        figure,
        f"Left: the line is the mean of the {width} steps around a point. Right: "
        f"{training.held_out} answers of each kind to problems that the draft was not trained "
        "on.",
    )
    return figure
