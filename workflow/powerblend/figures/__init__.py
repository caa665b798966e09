"""Figures: one file each, drawn from a study's summary. Knows no model and no record.

A figure is a function ``draw(summary) -> Figure``. To add one, write its file and its line in
`FIGURES`. A summary with too little in it is drawn as a sentence that says so.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from powerblend.figures import (
    accuracy,
    architecture,
    compute,
    diagnostics,
    difficulty,
    draft,
    interaction,
    overlap,
    probe_hard,
    probe_kl,
    probe_ranks,
    published,
    sweep,
    training,
)
from powerblend.figures.style import STYLE

FIGURES: dict[str, Callable[[dict[str, Any]], Figure]] = {
    "architecture": architecture.draw,
    "accuracy": accuracy.draw,
    "difficulty": difficulty.draw,
    "overlap": overlap.draw,
    "interaction": interaction.draw,
    "published": published.draw,
    "draft": draft.draw,
    "training": training.draw,
    "compute": compute.draw,
    "diagnostics": diagnostics.draw,
    "sweep": sweep.draw,
    "probe_ranks": probe_ranks.draw,
    "probe_hard": probe_hard.draw,
    "probe_kl": probe_kl.draw,
}


def material(
    summary: Mapping[str, Any], config: Mapping[str, Any], published: Mapping[str, Any]
) -> dict[str, Any]:
    """What figures are drawn from: the summary, what it is a summary of, and others' numbers."""
    study = {"model": config["model"]["name"], "dataset": config["dataset"]["name"]}
    return {**summary, "study": study, "published": published}


def save_figure(name: str, summary: dict[str, Any], png: Path) -> None:
    """Draw a figure in the common style, as PNG and, beside it, as SVG."""
    if name not in FIGURES:
        raise ValueError(f"there is no figure {name!r}; use one of {', '.join(FIGURES)}")
    matplotlib.use("agg")
    with matplotlib.rc_context(STYLE):
        figure = FIGURES[name](summary)
        png.parent.mkdir(parents=True, exist_ok=True)
        for path in (png, png.with_suffix(".svg")):
            # Without a date, the same numbers give the same bytes.
            metadata = {"Date": None} if path.suffix == ".svg" else None
            figure.savefig(path, metadata=metadata)
        plt.close(figure)
