"""The probe: on how many hard tokens a blend ranks the text's token better than the model does."""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from powerblend.figures.probe_ranks import about, measured_of
from powerblend.figures.style import FEW, GREY, line_style, note, percent_axis, plain, source_label

Curves = dict[str, list[Mapping[str, Any]]]

DASHES = {"none": "-", "final": "--"}
"""A line's style tells the norm, its colour the layer."""


def draw(summary: dict[str, Any]) -> Figure:
    """Two panels, all tokens and hard ones, with a line over beta per source."""
    measured = measured_of(summary)
    if measured is None or not measured["blends"]:
        return plain("No blends over β to show: the probe was not run, or measured none.")
    figure, panels = plt.subplots(1, 2, figsize=(8, 3.8))
    curves = curves_of(measured["blends"])
    for axes, key in zip(panels, ("better", "hard_better"), strict=True):
        beta_lines(axes, curves, key, at_zero=0.0)
        share_axis(axes)
    hard = measured["hard_tokens"]
    panels[0].set_title("All tokens", size=10)
    panels[1].set_title(f"Hard tokens (p < {measured['hard']:g}; n = {hard})", size=10)
    panels[0].set_ylabel("ranked better than by the model", color=GREY)
    if not hard:
        place = {"transform": panels[1].transAxes, "ha": "center"}
        panels[1].text(0.5, 0.5, "there are none", color=GREY, **place)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=3)
    note(figure, f"{about(measured)} {_caveat(hard)}".strip(), 110)
    return figure


def curves_of(blends: Sequence[Mapping[str, Any]]) -> Curves:
    """The rows of each source by beta, under its label; layers in order, a draft last."""
    curves: Curves = {}
    for row in sorted(blends, key=_order):
        curves.setdefault(source_label(row), []).append(row)
    return curves


def beta_lines(axes: Axes, curves: Curves, key: str, at_zero: float) -> None:
    """A line per source over the betas, evenly spaced; 0 is among them, where nothing is blended.

    A NaN ``at_zero`` leaves a gap there.
    """
    betas = sorted({0.0, *(row["beta"] for rows in curves.values() for row in rows)})
    layers = list(dict.fromkeys(rows[0].get("layer") for rows in curves.values()))
    for label, rows in curves.items():
        values = {row["beta"]: float("nan") if row[key] is None else row[key] for row in rows}
        places = sorted({0.0, *values})
        style = line_style(layers.index(rows[0].get("layer")))
        axes.plot(
            [betas.index(beta) for beta in places],
            [values.get(beta, at_zero) for beta in places],
            ls=DASHES.get(rows[0].get("norm") or "", ":"),
            # Hollow, so that lines in one place can all be seen.
            **{"label": label, "ms": 6, "mfc": "none", "lw": 1.4, **style},
        )
    axes.set_xticks(range(len(betas)), [f"{beta:g}".replace("-", "−") for beta in betas], size=8)
    axes.axvline(betas.index(0.0), color=GREY, lw=0.8)
    axes.set_xlabel("β", color=GREY)
    axes.grid(True, axis="y")


def share_axis(axes: Axes) -> None:
    """Shares from 0 up."""
    axes.set_ylim(0, max(0.01, axes.get_ylim()[1]))
    percent_axis(axes, "y")


def _order(row: Mapping[str, Any]) -> tuple[bool, int, str, float]:
    layer = row.get("layer")
    return layer is None, layer or 0, row.get("norm") or "", row["beta"]


def _caveat(hard: int) -> str:
    if 0 < hard < FEW:
        return f"Only {hard} are hard: each is {1 / hard:.1%}."
    return ""
