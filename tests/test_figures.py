"""Figures: each is whole at every size of study, and says so when there is too little to draw."""

import warnings
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pytest
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from matplotlib.text import Text

from powerblend.analysis.interaction import quartet
from powerblend.analysis.roles import main_overlap
from powerblend.analysis.sweep import not_swept, panels, verdict
from powerblend.figures import FIGURES, draw_figure, save_figures
from powerblend.figures.architecture import grid_of
from powerblend.figures.style import BLUE, GREEN, ORANGE, STYLE, colour_of, weight_of_one
from powerblend.vocabulary.published import PublishedNumbers
from powerblend.vocabulary.summary import Summary, SweepPoint
from summaries import (
    DRAFT,
    EARLIER,
    GREEDY,
    LAYER,
    POWER,
    changed,
    contrast,
    earlier_study,
    large_study,
    probe,
    small_study,
    study,
    sweep_points,
)

matplotlib.use("agg")
PUBLISHED = PublishedNumbers.read_yaml(Path(__file__).parents[1] / "resources" / "published.yaml")
STUDIES = {"small": small_study, "earlier": earlier_study, "large": large_study}
MINIMAL = {"problems", "samples", "confidence", "conditions", "blended", "overall"}


def drawn(name: str, summary: Summary) -> Figure:
    with matplotlib.rc_context(STYLE), warnings.catch_warnings():
        warnings.simplefilter("error")
        figure = draw_figure(name, summary, PUBLISHED)
        figure.canvas.draw()
    return figure


def texts(figure: Figure) -> list[Text]:
    """All that is written in a figure; a tick beyond its axis' limits is not drawn."""
    axes = [axis for axes in figure.axes for axis in (axes.xaxis, axes.yaxis)]
    labels = {id(label) for axis in axes for label in axis.get_ticklabels(which="both")}
    shown = [axis for axis in axes if axis.axes.axison]
    labels -= {id(tick.label1) for axis in shown for tick in axis._update_ticks()}
    found = figure.findobj(Text)
    return [t for t in found if id(t) not in labels and t.get_visible() and t.get_text().strip()]


def words(figure: Figure) -> str:
    return " ".join(text.get_text().replace("\n", " ") for text in texts(figure))


@pytest.fixture(autouse=True)
def _closed() -> Any:
    yield
    plt.close("all")


@pytest.mark.parametrize("size", STUDIES)
@pytest.mark.parametrize("name", FIGURES)
def test_nothing_is_cut_off(name: str, size: str) -> None:
    figure = drawn(name, STUDIES[size]())
    width, height = figure.bbox.size
    for text in texts(figure):
        box = text.get_window_extent()
        inside = box.x0 > -2 and box.y0 > -2 and box.x1 < width + 2 and box.y1 < height + 2
        assert inside, text.get_text()


@pytest.mark.parametrize(("easy", "hard"), [(0, 8), (8, 0)])
@pytest.mark.parametrize("name", FIGURES)
def test_nothing_and_everything_right(name: str, easy: int, hard: int) -> None:
    conditions = {key: (how, easy, 0, 20.0) for key, (how, *_) in EARLIER.items()}
    assert words(drawn(name, study(conditions, easy, hard)))


@pytest.mark.parametrize("name", ["accuracy", "difficulty", "published", "draft"])
def test_labels_of_bars_do_not_overlap(name: str) -> None:
    figure = drawn(name, large_study())
    for axes in figure.axes:
        boxes = [t.get_window_extent() for t in axes.texts if t.get_text()]
        assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])


@pytest.mark.parametrize("name", FIGURES)
def test_a_summary_without_the_new_sections_is_drawn(name: str) -> None:
    whole = earlier_study(("greedy", "ps"))
    minimal = Summary.model_validate(whole.model_dump(include=MINIMAL))
    with matplotlib.rc_context(STYLE):
        assert words(draw_figure(name, minimal, PublishedNumbers()))


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("draft", "no condition that blends with a draft"),
        ("sweep", "sweeps neither"),
        ("interaction", "No interaction to show"),
        ("convergence", "No long run stands for p^α"),
        ("parallel_chains", "No parallel chains"),
        ("probe_ranks", "the probe was not run"),
        ("probe_hard", "the probe was not run"),
        ("probe_kl", "the probe was not run"),
        ("accuracy", "Only 8 problems: each moves an accuracy by 12.5 points"),
    ],
)
def test_too_little_to_draw_is_said(name: str, sentence: str) -> None:
    assert sentence in words(drawn(name, small_study()))


def test_the_mean_of_a_training_is_centred() -> None:
    losses, mean = drawn("training", large_study()).axes[0].lines
    assert np.mean(mean.get_xdata()) == pytest.approx(np.mean(losses.get_xdata()))


def test_a_study_without_chains_says_so() -> None:
    summary = study({"greedy": (GREEDY, 3, 0, 25.0)}, easy=3, hard=5)
    assert "no condition of this study runs" in words(drawn("diagnostics", summary))
    assert "takes two conditions" in words(drawn("overlap", summary))


def test_chains_are_drawn_per_token_and_not_said_to_fall() -> None:
    seen = words(drawn("diagnostics", earlier_study()))
    assert "Log target density per token" in seen
    assert "a line that rises or falls is no chain that does" in seen


def test_the_accuracy_figure_has_the_numbers() -> None:
    seen = words(drawn("accuracy", earlier_study()))
    for label in ("71.2%  (74/104)", "77.9%  (81/104)", "Accuracy on 104 problems"):
        assert label in seen
    assert "over problems" not in seen
    assert "Wilson intervals over problems" in words(drawn("accuracy", large_study()))


def test_the_overlap_figure_is_about_power_sampling_and_its_blend() -> None:
    pair = main_overlap(earlier_study())
    assert pair is not None
    assert (pair.a, pair.b) == ("ps", "blend_ps")
    assert (pair.both, pair.only_a, pair.only_b, pair.neither) == (74, 1, 7, 22)
    first = main_overlap(small_study())
    assert first is not None
    assert first.a == "greedy"
    assert main_overlap(changed(small_study(), overlaps=())) is None
    assert "first sample" not in words(drawn("overlap", earlier_study()))
    assert "by each condition's first sample" in words(drawn("overlap", large_study()))


def test_the_quartet_shares_one_blend() -> None:
    assert quartet(earlier_study()) == ("greedy", "blend_greedy", "ps", "blend_ps")
    assert quartet(earlier_study(("greedy", "ps", "blend_greedy", "draft_blend_ps"))) is None


def test_the_interaction_of_the_figure_is_that_of_its_lines() -> None:
    summary = earlier_study()
    other = contrast("(draft_blend_ps - ps) - (temp - greedy)", 0.2, 0.5, kind="interaction")
    turned = contrast("(blend_greedy - greedy) - (blend_ps - ps)", -0.08, 0.5, kind="interaction")
    assert "Interaction" not in words(drawn("interaction", changed(summary, contrasts=(other,))))
    seen = words(drawn("interaction", changed(summary, contrasts=(other, turned))))
    assert "Interaction +8.0 points (+3.0 to +13.0)" in seen


def test_architecture_has_a_place_per_distribution_and_sampler() -> None:
    grid = grid_of(earlier_study().conditions)
    assert sorted(map(len, grid.values())) == [1] * 6
    assert len({distribution for distribution, _ in grid}) == 3


def test_published_numbers_on_other_problems_are_not_compared() -> None:
    other = changed(small_study(), dataset="mine.jsonl")
    assert "Not comparable" in words(drawn("published", other))
    assert "Not comparable" not in words(drawn("published", earlier_study()))


def test_a_sweep_has_a_panel_per_layer_with_the_unblended_in_each() -> None:
    summary = large_study()
    maps = panels(summary)
    assert [panel.layer for panel in maps] == [33, 17]
    assert all(any(point.beta == 0 for point in points) for points in maps.values())


def test_a_place_in_a_sweep_is_one_condition() -> None:
    conditions = {
        f"blend_ps_{steps}_{beta}": (
            POWER | {"steps": steps, "blend": LAYER | {"beta": beta}}, 70, steps, 600.0,
        )
        for steps in (2, 10)
        for beta in (0.01, 0.05, 0.1)
    }  # fmt: skip
    summary = study({"ps": EARLIER["ps"]} | conditions, easy=74, hard=30)
    summary = changed(summary, sweep=sweep_points(summary))
    maps = panels(summary)
    assert [panel.title for panel in maps] == [
        "power, layer 33, norm none, steps 2", "power, layer 33, norm none, steps 10",
    ]  # fmt: skip
    for points in maps.values():
        places = [(point.alpha, point.beta) for point in points]
        assert len(set(places)) == len(places)
    assert [len(points) for points in maps.values()] == [4, 3]
    assert "steps 10" in words(drawn("sweep", summary))


def test_a_source_that_reads_a_list_of_layers_is_swept_too() -> None:
    """As the guide's own does; a summary has it as JSON does."""
    mean = {"source": "mean", "norm": "none"}
    conditions = {
        f"mean_{layers[0]}_{beta}": (
            POWER | {"blend": mean | {"layers": layers, "beta": beta}}, 70, 4, 600.0,
        )
        for layers in ([12, 24], [9, 18])
        for beta in (0.01, 0.05, 0.1)
    }  # fmt: skip
    summary = study({"ps": EARLIER["ps"]} | conditions, easy=74, hard=30)
    assert not_swept(summary) == ["α"]
    summary = changed(summary, sweep=sweep_points(summary))
    assert [panel.title for panel in panels(summary)] == [
        "power, mean, norm none, layers [12, 24]",
        "power, mean, norm none, layers [9, 18]",
    ]


def test_the_probe_says_what_it_read_and_how_few_are_hard() -> None:
    assert "4,096 tokens from solutions of 128 problems" in words(
        drawn("probe_ranks", large_study())
    )
    seen = words(drawn("probe_hard", large_study()))
    assert "n = 3" in seen
    assert "Only 3 are hard: each is 33.3%" in seen
    nothing = changed(earlier_study(), probe=probe(earlier_study(), hard=0))
    assert "there are none" in words(drawn("probe_hard", nothing))


@pytest.mark.parametrize(
    ("betas", "words"),
    [
        ({-0.1: 0.5, 0: 0.4, 0.1: 0.4}, "best β: negative (-0.1)"),
        ({-0.1: 0.4, 0: 0.5, 0.1: 0.4}, "best β: zero (0)"),
        ({-0.1: 0.4, 0: 0.4, 0.1: 0.5, 0.2: 0.5}, "best β: positive (0.1, 0.2)"),
        ({-0.1: 0.5, 0: 0.4, 0.1: 0.5}, "best β: a tie (negative, positive)"),
    ],
)
def test_the_sign_of_the_best_beta_is_said(betas: dict[float, float], words: str) -> None:
    place: dict[str, Any] = dict.fromkeys(("alpha", "source", "layer", "norm"))
    place |= {"condition": "ps", "sampler": "power", "low": 0, "high": 1}
    points = [SweepPoint(beta=beta, accuracy=share, **place) for beta, share in betas.items()]
    assert verdict(points) == words


def test_the_best_settings_of_each_decoder_are_framed() -> None:
    figure = drawn("sweep", large_study())
    maps = [axes for axes in figure.axes if axes.get_title(loc="left")]
    assert len(maps) == 2
    for axes in maps:
        assert [patch for patch in axes.patches if not patch.get_fill()]
        assert "best β" in axes.get_title(loc="left")


@pytest.mark.parametrize("name", ["compute", "interaction", "diagnostics", "sweep", "probe_hard"])
@pytest.mark.parametrize("size", ["earlier", "large"])
def test_ticks_say_where_they_are(name: str, size: str) -> None:
    for axes in drawn(name, STUDIES[size]()).axes:
        for axis in (axes.xaxis, axes.yaxis):
            for tick in axis.get_major_ticks():
                label = tick.label1.get_text() or tick.label2.get_text()
                if label.endswith("%"):
                    assert float(label[:-1]) == pytest.approx(100 * tick.get_loc())


def test_colours_mean_what_is_blended() -> None:
    decodings = {"a": POWER, "b": POWER | {"blend": DRAFT}, "c": POWER | {"blend": LAYER}}
    summary = study({name: (how, 1, 0, 20.0) for name, how in decodings.items()}, easy=1, hard=1)
    assert [colour_of(summary, name) for name in "abc"] == [BLUE, GREEN, ORANGE]


def test_weight_of_one() -> None:
    assert weight_of_one(500) == ""
    assert "12.5 points" in weight_of_one(8)


def test_the_same_numbers_give_the_same_bytes(tmp_path: Path) -> None:
    for directory in ("a", "b"):
        save_figures(["accuracy"], small_study(), PUBLISHED, tmp_path / directory)
    for kind in ("png", "svg"):
        first, second = (tmp_path / d / f"accuracy.{kind}" for d in "ab")
        assert first.read_bytes() == second.read_bytes()
    assert not plt.get_fignums()
