"""Figures: one file each, drawn from a study's summary. Knows no model and no record.

A figure is a function ``draw(summary, published) -> Figure`` in the file of its name. To add one,
write its file and its name in `FIGURES`. A summary with too little in it is drawn as a sentence
that says so. Nothing here imports matplotlib until something is drawn.
"""

from collections.abc import Iterable
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
    "kernels",
    "parallel_chains",
    "convergence",
    "controls",
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


def save_figures(
    names: Iterable[str], summary: Summary, published: PublishedNumbers, folder: Path
) -> None:
    """Draw figures in the common style, each as NAME.png and NAME.svg.

    Raises
    ------
    ValueError
        If there is none of a name.
    """
    import matplotlib
    from matplotlib import pyplot as plt

    from powerblend.figures.style import STYLE

    matplotlib.use("agg")
    folder.mkdir(parents=True, exist_ok=True)
    with matplotlib.rc_context(STYLE):
        for name in names:
            figure = draw_figure(name, summary, published)
            for kind in ("png", "svg"):
                # Without a date, the same numbers give the same bytes.
                metadata = {"Date": None} if kind == "svg" else None
                figure.savefig(folder / f"{name}.{kind}", metadata=metadata)
                # The other file has the same layout, which is not looked for again.
                figure.set_layout_engine("none")
            plt.close(figure)
