"""The probe: on how many hard tokens a blend ranks the text's token better than the model does."""

from typing import Any

from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from powerblend.figures.probe_ranks import about, measured_of
from powerblend.figures.style import FEW, GREY, line_style, note, percent_axis, plain, source_label


def draw(summary: dict[str, Any]) -> Figure:
    """Two panels, all tokens and hard ones, with a line over beta per source."""
    measured = measured_of(summary)
    if measured is None or not measured["blends"]:
        return plain("No blends over β to show: the probe was not run, or measured none.")
    figure, panels = plt.subplots(1, 2, figsize=(8, 3.8))
    curves = curves_of(measured["blends"])
    for axes, prefix in zip(panels, ("", "hard_"), strict=True):
        _lines(axes, curves, f"{prefix}better")
    hard, share = measured["hard_tokens"], f"p < {measured['hard']:g}"
    panels[0].set_title("All tokens", size=10)
    panels[1].set_title(f"Hard tokens ({share}; n = {hard})", size=10)
    panels[0].set_ylabel("ranked better than by the model", color=GREY)
    if not hard:
        panels[1].text(
            0.5, 0.5, "there are none", transform=panels[1].transAxes, ha="center", color=GREY
        )
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=3)
    note(figure, f"{about(measured)} {_caveat(hard)}".strip(), 110)
    return figure


def curves_of(blends: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """The rows of each source, by beta, under its label."""
    curves: dict[str, list[dict[str, Any]]] = {}
    for row in sorted(blends, key=lambda row: row["beta"]):
        curves.setdefault(source_label(row), []).append(row)
    return {label: curves[label] for label in sorted(curves, key=_order)}


def _order(label: str) -> tuple[bool, int, str]:
    digits = "".join(filter(str.isdigit, label))
    return not digits, int(digits or 0), label


def _lines(axes: Axes, curves: dict[str, list[dict[str, Any]]], key: str) -> None:
    for index, (label, rows) in enumerate(curves.items()):
        shares = [float("nan") if row[key] is None else row[key] for row in rows]
        axes.plot(
            [row["beta"] for row in rows], shares, label=label, ms=4, lw=1.4, **line_style(index)
        )
    axes.axvline(0, color="black", lw=0.8)
    axes.set_ylim(bottom=0)
    percent_axis(axes, "y")
    axes.set_xlabel("β", color=GREY)


def _caveat(hard: int) -> str:
    if 0 < hard < FEW:
        return f"Only {hard} are hard: each is {1 / hard:.1%}."
    return ""
