"""Whether the blend helps power sampling more than it helps greedy decoding."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from powerblend.figures.style import BLUE, GREY, ORANGE, note, percent_axis, plain


class Quartet(NamedTuple):
    """Two samplers, each with the model's own law and with one blend of it."""

    greedy: str
    blend_greedy: str
    power: str
    blend_power: str


def quartet(summary: Mapping[str, Any]) -> Quartet | None:
    """The first four conditions that form a two-by-two table, if there are any."""
    conditions: Mapping[str, Mapping[str, Any]] = summary.get("conditions", {})
    answered = [row["condition"] for row in summary["overall"]]

    def first(sampler: str, blend: Any) -> str | None:
        return next(
            (
                name
                for name in answered
                if name in conditions
                and conditions[name].get("sampler") == sampler
                and conditions[name].get("blend") == blend
            ),
            None,
        )

    for name in answered:
        blend = conditions.get(name, {}).get("blend")
        if blend is not None:
            four = (
                first("greedy", None),
                first("greedy", blend),
                first("power", None),
                first("power", blend),
            )
            if all(four):
                return Quartet(*map(str, four))
    return None


def interaction_contrast(summary: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The contrast that tests the quartet's interaction, if the study declares it."""
    four = quartet(summary)
    oriented = (of_quartet(row, four) for row in summary.get("contrasts") or [])
    return next((row for row in oriented if row is not None), None)


def of_quartet(row: Mapping[str, Any], four: Quartet | None) -> Mapping[str, Any] | None:
    """A contrast as (blend_power - power) - (blend_greedy - greedy), None if it is another."""
    if four is None:
        return None
    wanted = {four.blend_power, four.greedy}, {four.power, four.blend_greedy}
    declared = set(row["plus"]), set(row["minus"])
    if declared == wanted:
        return row
    return turned(row) if declared == wanted[::-1] else None


def turned(row: Mapping[str, Any]) -> Mapping[str, Any]:
    """The same contrast, declared the other way round."""
    low, high = row["low"], row["high"]
    return {
        **row,
        "plus": row["minus"],
        "minus": row["plus"],
        "difference": -row["difference"],
        "low": None if high is None else -high,
        "high": None if low is None else -low,
        "b": row["c"],
        "c": row["b"],
    }


def draw(summary: dict[str, Any]) -> Figure:
    """A line per sampler, from the model's law to the blended one: parallel if none interacts."""
    four = quartet(summary)
    if four is None:
        return plain(
            "No interaction to show: it takes greedy decoding and power sampling, each with and "
            "without the same blend."
        )
    rows = {row["condition"]: row for row in summary["overall"]}
    figure, axes = plt.subplots(figsize=(6.2, 3.8))
    greedy = [rows[four.greedy], rows[four.blend_greedy]]
    power = [rows[four.power], rows[four.blend_power]]
    _line(axes, greedy, power, "greedy decoding", {"color": BLUE, "marker": "o", "shift": -0.02})
    _line(axes, power, greedy, "power sampling", {"color": ORANGE, "marker": "s", "shift": 0.02})
    axes.set_xticks([0, 1], ["the model's law", "blended law"])
    axes.set_xlim(-0.45, 1.45)
    axes.margins(y=0.15)
    percent_axis(axes, "y")
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.1), ncols=2)
    axes.set_title("Blend × sampler")
    axes.set_ylabel("accuracy", color=GREY)
    note(figure, _remark(summary), 90)
    return figure


def _line(
    axes: Axes,
    rows: list[Mapping[str, Any]],
    others: list[Mapping[str, Any]],
    label: str,
    style: dict[str, Any],
) -> None:
    shift = style.pop("shift")
    places = [place + shift for place in (0, 1)]
    shares = [row["accuracy"] for row in rows]
    # At 0 and at 1 an interval may begin past its accuracy by a rounding error.
    spread = [
        [max(0.0, row["accuracy"] - row["low"]) for row in rows],
        [max(0.0, row["high"] - row["accuracy"]) for row in rows],
    ]
    axes.errorbar(places, shares, spread, label=label, capsize=3, lw=1.8, elinewidth=0.9, **style)
    for place, row, other in zip((0, 1), rows, others, strict=True):
        above = (row["accuracy"], shift) > (other["accuracy"], -shift)
        axes.annotate(
            f"{row['accuracy']:.1%}",
            (place - 0.04 if place == 0 else place + 0.04, row["accuracy"]),
            (-5 if place == 0 else 5, 3 if above else -3),
            textcoords="offset points",
            ha="right" if place == 0 else "left",
            va="bottom" if above else "top",
            color=style["color"],
            weight="bold",
        )


def _remark(summary: Mapping[str, Any]) -> str:
    bars = f"Bars: {summary['confidence']:.0%} Wilson intervals of one condition each."
    contrast = interaction_contrast(summary)
    if contrast is None or contrast.get("difference") is None:
        return bars
    low, high = contrast["low"], contrast["high"]
    interval = "" if low is None else f" ({100 * low:+.1f} to {100 * high:+.1f})"
    effect = f"Interaction {100 * contrast['difference']:+.1f} points{interval}".replace("-", "−")
    return f"{effect}: {contrast['verdict']}. {bars}"
