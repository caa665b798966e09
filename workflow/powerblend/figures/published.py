"""A study's accuracies beside published ones: different models and budgets, so no ranking."""

from typing import NamedTuple

from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from powerblend.analysis.roles import published_datasets
from powerblend.figures.style import BLUE, GREY, PALE, colour_of, note, percent_axis, plain
from powerblend.vocabulary.published import PublishedNumbers
from powerblend.vocabulary.summary import Summary


class Bar(NamedTuple):
    """A bar and how it is drawn; a heading has no accuracy."""

    label: str
    accuracy: float | None = None
    colour: str = PALE
    interval: tuple[float, float] | None = None


def draw(summary: Summary, published: PublishedNumbers) -> Figure:
    """Bars in groups, a group per source and model, this study's last and in colour."""
    if not published.results:
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
    note(figure, _caveat(summary, published))
    return figure


def _published(published: PublishedNumbers) -> list[Bar]:
    bars: list[Bar] = []
    group = None
    for result in published.results:
        if group != (result.source, result.model):
            group = (result.source, result.model)
            bars.append(Bar(f"{published.sources[result.source].label}: {result.model}"))
        bars.append(Bar(result.method, result.accuracy, "#AAAAAA"))
    return bars


def _ours(summary: Summary) -> list[Bar]:
    model = summary.model.rsplit("/", 1)[-1]
    heading = f"this study: {model}" if model else "this study"
    bars = [
        Bar(
            result.condition,
            result.accuracy,
            colour_of(summary, result.condition),
            (result.low, result.high),
        )
        for result in summary.overall
    ]
    return [Bar(heading), *bars]


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


def _caveat(summary: Summary, published: PublishedNumbers) -> str:
    dataset = summary.dataset or "its own problems"
    theirs = published_datasets(published)
    caveat = "Models, budgets, prompts and graders differ: this is orientation, not a ranking."
    if dataset in theirs:
        return f"{caveat} This study: {summary.problems} problems of {dataset}."
    return (
        f"Not comparable as numbers: this study's {summary.problems} problems are {dataset}, "
        f"the published numbers are on {', '.join(sorted(theirs))}. {caveat}"
    )
