"""Figures: one file each, drawn from a study's summary. Knows no model and no record.

A figure is a function ``draw(summary, published) -> Figure`` in the file of its name. To add one,
write its file and its name in `FIGURES`. A summary with too little in it is drawn as a sentence
that says so. Nothing here imports matplotlib until something is drawn.
"""

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast

from powerblend.vocabulary.published import PublishedNumbers
from powerblend.vocabulary.summary import Summary

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FIGURES = (
    "architecture",
    "accuracy",
    "difficulty",
    "overlap",
    "interaction",
    "published",
    "draft",
    "training",
    "compute",
    "diagnostics",
    "sweep",
    "probe_ranks",
    "probe_hard",
    "probe_kl",
)
"""Their names, in the order of a listing."""


class FigureModule(Protocol):
    """What the file of a figure offers."""

    @staticmethod
    def draw(summary: Summary, published: PublishedNumbers) -> "Figure":
        """The figure."""


def draw_figure(name: str, summary: Summary, published: PublishedNumbers) -> "Figure":
    """Draw a figure with matplotlib's current settings.

    Raises
    ------
    ValueError
        If there is none of that name.
    """
    if name not in FIGURES:
        raise ValueError(f"there is no figure {name!r}; use one of {', '.join(FIGURES)}")
    module = cast(FigureModule, import_module(f"powerblend.figures.{name}"))
    return module.draw(summary, published)


def save_figure(name: str, summary: Summary, published: PublishedNumbers, png: Path) -> None:
    """Draw a figure in the common style, as PNG and, beside it, as SVG.

    Raises
    ------
    ValueError
        If there is none of that name.
    """
    import matplotlib
    from matplotlib import pyplot as plt

    from powerblend.figures.style import STYLE

    matplotlib.use("agg")
    with matplotlib.rc_context(STYLE):
        figure = draw_figure(name, summary, published)
        png.parent.mkdir(parents=True, exist_ok=True)
        for path in (png, png.with_suffix(".svg")):
            # Without a date, the same numbers give the same bytes.
            metadata = {"Date": None} if path.suffix == ".svg" else None
            figure.savefig(path, metadata=metadata)
        plt.close(figure)
