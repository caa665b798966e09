"""Figures: one file each, drawn from a study's summary. Knows no model and no record.

A figure is a function ``draw(summary) -> Figure``. To add one, write its file and its line in
`FIGURES`.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure

from powerblend.figures import accuracy
from powerblend.figures.style import STYLE

FIGURES: dict[str, Callable[[dict[str, Any]], Figure]] = {
    "accuracy": accuracy.draw,
}


def save_figure(name: str, summary: dict[str, Any], png: Path) -> None:
    """Draw a figure in the common style, as PNG and, beside it, as SVG."""
    matplotlib.use("agg")
    with matplotlib.rc_context(STYLE):
        figure = FIGURES[name](summary)
        png.parent.mkdir(parents=True, exist_ok=True)
        for path in (png, png.with_suffix(".svg")):
            # Without a date, the same numbers give the same bytes.
            metadata = {"Date": None} if path.suffix == ".svg" else None
            figure.savefig(path, metadata=metadata)
