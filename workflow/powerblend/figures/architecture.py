"""How the conditions are made: a law of the next token, and a way of drawing from it."""

from collections.abc import Mapping
from textwrap import fill
from typing import Any, NamedTuple

from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from powerblend.figures.style import BLUE, GREEN, GREY, ORANGE, PALE, plain

SAMPLERS = {
    "greedy": ("greedy", "argmax, token by token"),
    "temperature": ("temperature", "a draw per token\nfrom softmax(z / T)"),
    "power": ("power sampling", "Metropolis–Hastings\nover whole answers, p^α"),
}
WIDTH, MODEL, LAW, CELLS = 11.0, 0.1, 2.35, 5.55
"""The figure's width and where its columns start, in inches."""


class Law(NamedTuple):
    """A law of the next token: its name, its formula and its colour."""

    name: str
    formula: str
    colour: str


def draw(summary: dict[str, Any]) -> Figure:
    """Rows are laws, columns are samplers, cells name the conditions that combine them."""
    conditions = summary.get("conditions", {})
    if not conditions:
        return plain("No architecture to show: the study has no conditions.")
    cells = cells_of(conditions)
    laws = list(dict.fromkeys(law for law, _ in cells))
    samplers = list(dict.fromkeys(sampler for _, sampler in cells))
    heights = [_height(cells, law, samplers) for law in laws]
    total = sum(heights) + 1.15
    figure, axes = plt.subplots(figsize=(WIDTH, total))
    axes.set_xlim(0, WIDTH)
    axes.set_ylim(total, 0)
    axes.set_aspect("equal")
    axes.axis("off")
    width = (WIDTH - CELLS) / len(samplers)
    _headings(axes, samplers, width)
    _model(axes, 1.1, total - 0.1, any(law.colour == GREEN for law in laws))
    top = 1.05
    for law, height in zip(laws, heights, strict=True):
        _law(axes, law, top, height, [cells.get((law, s), []) for s in samplers], width)
        top += height
    return figure


def cells_of(conditions: Mapping[str, Mapping[str, Any]]) -> dict[tuple[Law, str], list[str]]:
    """The conditions by their law and their sampler."""
    cells: dict[tuple[Law, str], list[str]] = {}
    for name, condition in conditions.items():
        cells.setdefault((_law_of(condition), condition["sampler"]), []).append(name)
    return cells


def _law_of(condition: Mapping[str, Any]) -> Law:
    blend = condition.get("blend")
    if blend is None:
        return Law("the model's law, p", "softmax(lm_head(h_final))", BLUE)
    beta = f"β = {blend['beta']:g}"
    if blend["source"] == "draft":
        return Law(f"draft-guided, {beta}", "softmax((1−β)·z_target + β·z_draft)", GREEN)
    source = f"layer {blend['layer']}" if "layer" in blend else blend["source"]
    norm = ", after the final norm" if blend.get("norm") == "final" else ""
    state = f"h_{blend.get('layer', blend['source'])}"
    state = f"norm({state})" if norm else state
    formula = f"softmax(lm_head((1−β)·h_final + β·{state}))"
    return Law(f"guided by {source}{norm}, {beta}", formula, ORANGE)


def _height(cells: Mapping[tuple[Law, str], list[str]], law: Law, samplers: list[str]) -> float:
    most = max(len(cells.get((law, sampler), [])) for sampler in samplers)
    return max(0.85, 0.3 + 0.2 * most)


def _headings(axes: Axes, samplers: list[str], width: float) -> None:
    axes.text(LAW, 0.3, "what is drawn from", weight="bold", va="center")
    axes.text(LAW, 0.68, "the law of the next token", va="center", fontsize=8.5, color=GREY)
    for index, sampler in enumerate(samplers):
        centre = CELLS + (index + 0.5) * width
        name, how = SAMPLERS.get(sampler, (sampler, ""))
        axes.text(centre, 0.3, name, weight="bold", ha="center", va="center")
        axes.text(centre, 0.68, how, ha="center", va="center", fontsize=8.5, color=GREY)


def _model(axes: Axes, top: float, bottom: float, draft: bool) -> None:
    axes.text(MODEL, 0.3, "one forward pass", weight="bold", va="center")
    _box(axes, MODEL, top, 1.75, bottom - top, PALE, GREY)
    words = "decoder blocks\n0 … ℓ … final" + ("\n+ draft model" if draft else "")
    axes.text(MODEL + 0.875, (top + bottom) / 2, words, ha="center", va="center", fontsize=9)


def _law(
    axes: Axes, law: Law, top: float, height: float, names: list[list[str]], width: float
) -> None:
    middle = top + height / 2
    _arrow(axes, MODEL + 1.8, LAW - 0.04, middle)
    _box(axes, LAW, top + 0.07, 2.85, height - 0.14, "white", law.colour)
    start = LAW + 0.1
    axes.text(start, middle - 0.15, fill(law.name, 40), va="center", fontsize=8.5, weight="bold")
    axes.text(start, middle + 0.14, law.formula, va="center", fontsize=7)
    _arrow(axes, LAW + 2.9, CELLS - 0.02, middle)
    for index, inside in enumerate(names):
        left = CELLS + index * width + 0.05
        _box(axes, left, top + 0.07, width - 0.1, height - 0.14, "white", PALE)
        axes.text(
            left + width / 2 - 0.05, middle, "\n".join(inside) or "—", ha="center", va="center",
            fontsize=9, color=law.colour if inside else GREY, weight="bold" if inside else "normal",
        )  # fmt: skip


def _box(
    axes: Axes, left: float, top: float, width: float, height: float, face: str, edge: str
) -> None:
    style = "round,pad=0,rounding_size=0.06"
    axes.add_patch(
        FancyBboxPatch((left, top), width, height, boxstyle=style, fc=face, ec=edge, lw=1.5)
    )


def _arrow(axes: Axes, start: float, end: float, height: float) -> None:
    style = {"arrowstyle": "-|>", "color": GREY, "lw": 1.1, "shrinkA": 0, "shrinkB": 0}
    axes.annotate("", (end, height), (start, height), arrowprops=style)
