"""A study's accuracies beside published ones: different models and budgets, so no ranking."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from powerblend.figures.style import BLUE, GREY, PALE, colour_of, note, percent_axis, plain


class Bar(NamedTuple):
    """A bar and how it is drawn; a heading has no accuracy."""

    label: str
    accuracy: float | None = None
    colour: str = PALE
    interval: tuple[float, float] | None = None


def draw(summary: dict[str, Any]) -> Figure:
    """Bars in groups, a group per source and model, this study's last and in colour."""
    published = summary.get("published")
    if not published:
        return plain("No published numbers to compare with: resources/published.yaml has none.")
    bars = [*_published(published), *_ours(summary)]
    figure, axes = plt.subplots(figsize=(7, 1.3 + 0.25 * len(bars)))
    for place, bar in enumerate(bars):
        _draw_bar(axes, place, bar)
    axes.set_yticks(range(len(bars)), [bar.label for bar in bars], fontsize=9)
    for label, bar in zip(axes.get_yticklabels(), bars, strict=True):
        label.set_fontweight("bold" if bar.accuracy is None else "normal")
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(len(bars) - 0.4, -0.6)
    axes.set_xlim(0, 1.12)
    axes.set_xticks([tick / 5 for tick in range(6)])
    percent_axis(axes)
    axes.spines["bottom"].set_bounds(0, 1)
    axes.set_xlabel("accuracy", color=GREY)
    axes.set_title("Published numbers and this study's")
    note(figure, _caveat(summary))
    return figure


def _published(published: Mapping[str, Any]) -> list[Bar]:
    bars: list[Bar] = []
    group = None
    for row in published["results"]:
        source = published["sources"][row["source"]]
        if group != (row["source"], row["model"]):
            group = (row["source"], row["model"])
            bars.append(Bar(f"{source['label']}: {row['model']}"))
        bars.append(Bar(row["method"], row["accuracy"], "#AAAAAA"))
    return bars


def _ours(summary: Mapping[str, Any]) -> list[Bar]:
    model = summary.get("study", {}).get("model", "")
    heading = f"this study: {model.rsplit('/', 1)[-1]}" if model else "this study"
    rows = [
        Bar(
            row["condition"],
            row["accuracy"],
            colour_of(summary, row["condition"]),
            (row["low"], row["high"]),
        )
        for row in summary["overall"]
    ]
    return [Bar(heading), *rows]


def _draw_bar(axes: Axes, place: int, bar: Bar) -> None:
    if bar.accuracy is None:
        return
    axes.barh(place, bar.accuracy, color=bar.colour, height=0.72)
    if bar.interval:
        axes.plot(bar.interval, [place, place], color="black", lw=1.1, marker="|", ms=5)
    end = max(bar.accuracy, *(bar.interval or (0,)))
    axes.annotate(
        f"{bar.accuracy:.1%}", (end, place), (4, 0), textcoords="offset points", va="center",
        fontsize=8, color="black" if bar.colour == BLUE or bar.interval else GREY,
    )  # fmt: skip


def _caveat(summary: Mapping[str, Any]) -> str:
    dataset = summary.get("study", {}).get("dataset", "its own problems")
    theirs = {s["dataset"] for s in summary["published"]["sources"].values() if s["dataset"]}
    caveat = "Models, budgets, prompts and graders differ: this is orientation, not a ranking."
    if dataset in theirs:
        return f"{caveat} This study: {summary['problems']} problems of {dataset}."
    return (
        f"Not comparable as numbers: this study's {summary['problems']} problems are {dataset}, "
        f"the published numbers are on {', '.join(sorted(theirs))}. {caveat}"
    )
