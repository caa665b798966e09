"""Accuracy over α and β, where the study sweeps them."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter

from powerblend.figures.style import GREY, PALE, note, plain, tick_label, weight_of_one

PLACED = {"sampler", "blend", "source", "layer", "norm", "alpha", "beta"}
"""Settings with a place of their own: in the name of a heat map or on its axes."""

Rest = tuple[tuple[str, str], ...]
"""The other settings, as far as conditions differ in them; what a source reads may be a list."""

Panel = tuple[str, str, int | None, str | None, Rest]
"""What a heat map holds fixed: sampler, source, layer, norm and the rest."""


def draw(summary: dict[str, Any]) -> Figure:
    """A heat map per `Panel`, the best cells framed, those not run grey."""
    if not summary.get("sweep"):
        return plain(no_map(summary))
    maps = panels(summary)
    columns = min(2, len(maps))
    lines = -(-len(maps) // columns)
    most = max(len(_values(part, "alpha")) for part in maps.values())
    figure, grid = plt.subplots(
        lines, columns, figsize=(4.0 * columns + 0.8, lines * (1.4 + 0.5 * most)), squeeze=False
    )
    shares = [row["accuracy"] for part in maps.values() for row in part]
    low, high = min(shares), max(shares)
    colours = ScalarMappable(Normalize(low, max(high, low + 0.01)), "cividis")
    for axes in grid.flat:
        axes.axis("off")
    for axes, (panel, part) in zip(grid.flat, maps.items(), strict=False):
        _heat_map(axes, panel, part, colours)
    figure.colorbar(colours, ax=grid, format=FuncFormatter(tick_label), shrink=0.9)
    remark = "β = 0 is the model's own law. The best cell of a sweep is the best by luck, too."
    note(figure, f"{remark} {weight_of_one(summary['problems'])}".strip(), 50 * columns)
    return figure


def settings_run(summary: Mapping[str, Any]) -> dict[str, list[float]]:
    """The α of the conditions that have one, and the β of the blend that has the most."""
    conditions = summary.get("conditions", {}).values()
    betas: dict[str, set[float]] = {}
    for how in conditions:
        blend = dict(how.get("blend") or {})
        if "beta" in blend:
            beta = blend.pop("beta")
            betas.setdefault(json.dumps(blend, sort_keys=True), set()).add(beta)
    alphas = {how["alpha"] for how in conditions if "alpha" in how}
    most = max(map(sorted, betas.values()), key=len, default=[])
    return {"α": sorted(alphas), "β": most}


def not_swept(summary: Mapping[str, Any]) -> list[str]:
    """Which of α and β the study has, and has at one value."""
    return [name for name, values in settings_run(summary).items() if len(values) == 1]


def no_map(summary: Mapping[str, Any]) -> str:
    """Why there is no heat map."""
    several = [
        f"{name} = {', '.join(f'{value:g}' for value in values)}"
        for name, values in settings_run(summary).items()
        if len(values) > 1
    ]
    if not several:
        return "This study sweeps neither α nor β."
    return (
        f"No map to show: the study ran {' and '.join(several)}, but no blend of one source at "
        "three settings of the two."
    )


def panels(summary: Mapping[str, Any]) -> dict[Panel, list[Mapping[str, Any]]]:
    """The rows of each heat map; unblended ones are in all of their sampler and other settings."""
    plains = unblended(summary)
    rest = _rest(summary, [row["condition"] for row in [*summary["sweep"], *plains]])
    panels: dict[Panel, list[Mapping[str, Any]]] = {}
    for row in summary["sweep"]:
        source = row["source"], row["layer"], row["norm"]
        panel = row["sampler"], *source, rest[row["condition"]]
        panels.setdefault(panel, []).append(row)
    for row in plains:
        for panel in panels:
            if panel[0] == row["sampler"] and set(rest[row["condition"]]) <= set(panel[-1]):
                panels[panel].append(row)
    return panels


def _rest(summary: Mapping[str, Any], names: Sequence[str]) -> dict[str, Rest]:
    """Of each condition, the settings in which those of its sampler differ, and its values."""
    conditions = {name: summary["conditions"][name] for name in names}
    settings = {name: {**how, **(how.get("blend") or {})} for name, how in conditions.items()}
    values: dict[tuple[str, str], set[str]] = {}
    for how in settings.values():
        for key in how.keys() - PLACED:
            values.setdefault((how["sampler"], key), set()).add(str(how[key]))
    differing = sorted(place for place, found in values.items() if len(found) > 1)
    return {
        name: tuple((k, str(how[k])) for of, k in differing if of == how["sampler"] and k in how)
        for name, how in settings.items()
    }


def unblended(summary: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The conditions at β = 0 of the samplers that are swept."""
    swept = {row["sampler"] for row in summary["sweep"]}
    rows = []
    for row in summary["overall"]:
        how = summary["conditions"].get(row["condition"], {})
        if how.get("sampler") in swept and how.get("blend") is None:
            settings = {"sampler": how["sampler"], "alpha": how.get("alpha"), "beta": 0.0}
            nothing = {"source": None, "layer": None, "norm": None}
            found = {key: row[key] for key in ("condition", "accuracy")}
            rows.append({**settings, **nothing, **found})
    return rows


def best(rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The rows of a panel with the highest accuracy: several, if they tie."""
    most = max(row["accuracy"] for row in rows)
    return [row for row in rows if row["accuracy"] == most]


def verdict(rows: Sequence[Mapping[str, Any]]) -> str:
    """The sign of β at the best of a panel's settings, or that there are several."""
    signs = {"negative": 0, "zero": 0, "positive": 0}
    for row in best(rows):
        signs[_sign(row["beta"] or 0)] += 1
    listed = [sign for sign, count in signs.items() if count]
    if len(listed) > 1:
        return f"best β: a tie ({', '.join(listed)})"
    betas = sorted({row["beta"] or 0 for row in best(rows)})
    return f"best β: {listed[0]} ({', '.join(f'{beta:g}' for beta in betas)})"


def _sign(beta: float) -> str:
    return "zero" if beta == 0 else "positive" if beta > 0 else "negative"


def _values(rows: Sequence[Mapping[str, Any]], key: str) -> list[float]:
    return sorted({row[key] or 0 for row in rows})


def _heat_map(
    axes: Axes, panel: Panel, rows: Sequence[Mapping[str, Any]], colours: ScalarMappable
) -> None:
    alphas, betas = _values(rows, "alpha"), _values(rows, "beta")
    axes.axis("on")
    axes.set_facecolor(PALE)
    winners = best(rows)
    for row in rows:
        place = betas.index(row["beta"] or 0), alphas.index(row["alpha"] or 0)
        _cell(axes, place, row["accuracy"], colours)
        if row in winners:
            _frame(axes, place)
    axes.set_xlim(-0.5, len(betas) - 0.5)
    axes.set_ylim(-0.5, len(alphas) - 0.5)
    axes.set_xticks(range(len(betas)), [f"{beta:g}" for beta in betas])
    axes.set_yticks(range(len(alphas)), [f"{alpha:g}" if alpha else "—" for alpha in alphas])
    axes.tick_params(length=0)
    axes.set_xlabel("β", color=GREY)
    axes.set_ylabel("α", color=GREY)
    axes.set_title(f"{title(panel)}\n{verdict(rows)}", size=10)


def _cell(axes: Axes, place: tuple[int, int], share: float, colours: ScalarMappable) -> None:
    x, y = place
    colour = colours.to_rgba(np.array([share]))[0]
    axes.fill_between([x - 0.5, x + 0.5], y - 0.5, y + 0.5, color=colour, lw=0)
    dark = sum(colour[:3]) < 1.5
    axes.text(x, y, f"{share:.1%}", ha="center", va="center", color="white" if dark else "black")


def _frame(axes: Axes, place: tuple[int, int]) -> None:
    corner = place[0] - 0.47, place[1] - 0.45
    axes.add_patch(Rectangle(corner, 0.94, 0.9, fill=False, edgecolor="black", lw=2))


def title(panel: Panel) -> str:
    """What a heat map holds fixed, in words."""
    sampler, source, layer, norm, rest = panel
    parts = [sampler, source if layer is None else f"{source} {layer}"]
    if norm is not None:
        parts.append(f"norm {norm}")
    parts += [f"{key} {value}" for key, value in rest]
    return ", ".join(parts)
