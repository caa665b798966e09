"""The report: every number computed, every claim as strong as its numbers, foreign text inert."""

import re
import subprocess
import sys
from html.parser import HTMLParser
from itertools import product
from pathlib import Path
from typing import Any, Literal

import pytest
import yaml
from markdown_it import MarkdownIt

from powerblend.analysis.interaction import Quartet
from powerblend.analysis.roles import role_of
from powerblend.analysis.summary import condition_of
from powerblend.blends import LayerBlend
from powerblend.engine.chain import Schedule
from powerblend.figures import FIGURES
from powerblend.figures.architecture import grid_of
from powerblend.report import controls, render, render_html, setup
from powerblend.report.conclusions import conclusion, findings, next_steps
from powerblend.report.contrasts import contrast_sentence, contrasts_sentence
from powerblend.report.costs import compute_sentence, graders_sentence
from powerblend.report.draft import draft_sentence
from powerblend.report.limitations import limitations
from powerblend.report.probe import (
    hard_tokens_sentence,
    perturbation_sentences,
    suggested_sentence,
    text_sentence,
)
from powerblend.report.published import comparable, gains_table, settings_table, stand_ins
from powerblend.report.results import (
    additive_sentence,
    best_sentence,
    detectable_sentence,
    hard_sentence,
    overlap_sentence,
    spread_sentence,
)
from powerblend.report.run import Run, cpu_name, git_revision
from powerblend.report.text import code_block, escaped, p_value, percent, points, series, table
from powerblend.samplers import parse_sampler
from powerblend.samplers.base import ChainDescription, Sampler
from powerblend.study.schema import Study, parse_study
from powerblend.vocabulary.checked import Checked, PromptLengths
from powerblend.vocabulary.published import PublishedNumbers
from powerblend.vocabulary.summary import Condition, Disagreement, Overlap, Summary, Ungraded
from small_study import ROOT, environment, merged
from summaries import (
    EARLIER,
    POWER,
    TEMPERATURE,
    changed,
    condition,
    contrast,
    decoding_otherwise,
    earlier_study,
    large_study,
    small_study,
    study,
)

PUBLISHED = PublishedNumbers.read_yaml(ROOT / "resources" / "published.yaml")
BASE: dict[str, Any] = yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8"))
CONFIG: dict[str, Any] = {
    "study": "math500",
    "title": "LogitBlend × Power Sampling",
    "seed": 42,
    "model": {"name": "Qwen/Qwen3-4B", "dtype": "bfloat16", "revision": "1cfa9a7208912126"},
    "dataset": {"name": "HuggingFaceH4/MATH-500"},
    "prompt": {"shots": None},
    "shards": {"of": 40, "use": "0-7"},
}


def configured(**changes: Any) -> Study:
    """The study of the configuration, or of one with some keys set otherwise."""
    return parse_study(merged(BASE, CONFIG | changes))


STUDY = configured()
RUN = Run(
    config=STUDY,
    config_yaml=yaml.safe_dump(CONFIG, allow_unicode=True),
    checked=Checked(
        model="m",
        architecture=None,
        layers=36,
        hidden_size=8,
        vocabulary=9,
        problems=104,
        prompt_tokens=PromptLengths(shortest=90, longest=250),
    ),
    versions={"python": "3.11", "torch": "2.13"},
    hardware="8 × H800",
    revision="0123456789ab",
    command="snakemake --cores 8",
)
FIGURE_PATHS = {name: f"math500/{name}.png" for name in FIGURES}
MINIMAL = {"problems", "samples", "confidence", "conditions", "blended", "overall"}
FOUR = Quartet("greedy", "blend_greedy", "ps", "blend_ps")
HOSTILE = [
    "`code` and ``more``",
    "a|b|c",
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "[click](javascript:alert(1))",
    "![x](http://evil.example/x.png)",
    "<javascript:alert(1)>",
    "[ref]: http://evil.example",
    r"\|x\| = \frac{1}{2}",
    r"a\\|b",
    "trailing \\",
    "&lt;b&gt; &#60;",
    "line one\n| new | row |\n\n# heading",
    "$x^2$ and $$y$$",
    "**bold** _it_ ~~gone~~",
    "http://evil.example and www.evil.example",
    "- list",
    "\x00\x1b[31m",
]


def report(summary: Summary, **changes: Any) -> str:
    return render(summary, RUN._replace(**changes), FIGURE_PATHS, PUBLISHED)


def lines(markdown: str) -> list[list[str]]:
    """The lines of a Markdown table, each as its values; the rule is left out."""
    split = [line.strip("| ").split(" | ") for line in markdown.splitlines()]
    return [split[0], *split[2:]]


def section(markdown: str, heading: str) -> str:
    rest = markdown.split(f"\n{heading}", 1)[1]
    level = heading.split(" ", 1)[0]
    return rest.split(f"\n{level} ", 1)[0]


class Page(HTMLParser):
    """What is in a page: its tags, their attributes and the cells of its tables."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.rows: list[list[str]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_data(self, data: str) -> None:
        if self.rows and self.rows[-1]:
            self.rows[-1][-1] += data


def test_the_tables_of_the_earlier_study() -> None:
    text = report(earlier_study())
    for row in (
        "| `greedy` | 74 | 104 | 71.2% |",
        "| `temp` | 73 | 104 | 70.2% |",
        "| `ps` | 75 | 104 | 72.1% |",
        "| `blend_greedy` | 71 | 104 | 68.3% |",
        "| `blend_ps` | 81 | 104 | 77.9% |",
        "| `temp` | 97.3% (72/74) | 3.3% (1/30) |",
        "| `ps` | 94.6% (70/74) | 16.7% (5/30) |",
        "| `blend_greedy` | 91.9% (68/74) | 10.0% (3/30) |",
        "| `blend_ps` | 98.6% (73/74) | 26.7% (8/30) |",
        "| both `ps` and `blend_ps` | 74 |",
        "| only `ps` | 1 |",
        "| only `blend_ps` | 7 |",
        "| neither | 22 |",
        "| power sampling | 72.1% | 77.9% | +5.8 points |",
        "p = 0.0703",
    ):
        assert row in text


@pytest.mark.parametrize(
    "heading",
    [
        "## 1. Motivation",
        "## 2. Method",
        "## 3. Experimental setup",
        "## 4. Results",
        "## 5. Comparison with published numbers",
        "## 6. A draft model",
        "## 7. Limitations",
        "## 8. Conclusions",
        "## Appendix: reproduction",
    ],
)
def test_the_sections_are_there_at_every_size(heading: str) -> None:
    for summary in (small_study(), earlier_study(), large_study()):
        assert section(report(summary), heading).strip()


def test_a_summary_without_the_new_sections_is_written_up() -> None:
    whole = earlier_study(("greedy", "ps"))
    text = report(Summary.model_validate(whole.model_dump(include=MINIMAL)))
    assert "no declared contrast" in text
    assert "{{" not in text


@pytest.mark.parametrize(("easy", "hard"), [(0, 8), (8, 0)])
def test_nothing_and_everything_right(easy: int, hard: int) -> None:
    conditions = {key: (how, easy, 0, 20.0) for key, (how, *_) in EARLIER.items()}
    assert "share the highest accuracy" in report(study(conditions, easy, hard))


def test_the_acceptance_ratio_has_its_length_terms() -> None:
    assert "+  log|x| − log|y|" in section(report(small_study()), "## 2. Method")


def test_chains_that_are_not_exact_are_pointed_out() -> None:
    summary = earlier_study()
    assert "Every chain of this study uses this acceptance" in report(summary)
    text = report(decoding_otherwise(summary, {"ps": POWER | {"mh": "published"}}))
    assert "Every chain of this study" not in text
    assert "does not converge" in section(text, "## 7. Limitations")
    assert "leaves its target invariant" not in text
    assert "leaves its target invariant" in report(earlier_study())


def test_a_trained_draft_is_described() -> None:
    text = report(large_study())
    assert "trained one, of 8.7 million parameters: 25 steps on 360 answers" in text
    assert "first choice is the target's token in 31.0% of places" in text
    assert "1.18 tokens of a block right before its first error, of 2.70" in text
    assert "trained one" not in report(earlier_study())
    assert "a draft model's logits take a pass of the draft as well" in text


def test_a_study_without_a_draft_says_so_in_one_sentence() -> None:
    draft = section(report(earlier_study(("greedy", "ps"))), "## 6. A draft model")
    sentence = draft.split("\n", 1)[1].strip()
    assert sentence == "This study has no condition that blends with a draft model."
    assert "![" in section(report(earlier_study()), "## 6. A draft model")


def test_attributions() -> None:
    text = report(earlier_study())
    assert "Karan & Du" in text
    assert "2510.14901" in text
    assert "Chen, Liang & Liu" in text
    assert "2602.06036" in text
    assert "Brown" not in text
    base = [result for result in PUBLISHED.results if result.accuracy == 0.496]
    assert [result.method for result in base] == ["base"]
    assert {result.source for result in PUBLISHED.results} <= PUBLISHED.sources.keys()


def test_published_numbers_are_compared_only_with_the_same_problems() -> None:
    assert comparable(PUBLISHED, STUDY)
    other = configured(dataset={"name": "mine.jsonl"})
    assert not comparable(PUBLISHED, other)
    assert "must not be compared" in report(small_study(), config=other)
    assert "must not be compared" not in report(small_study())


def test_differences_are_computed_from_roles() -> None:
    header, *rows = lines(gains_table(earlier_study(), PUBLISHED))
    assert header[-1] == "this study"
    by_label = {row[0]: row[1:] for row in rows}
    assert by_label["Power sampling over low temperature"][0] == "+5.8 (69.0% → 74.8%)"
    assert by_label["Power sampling over greedy"][0] == "—"
    assert by_label["Blended power sampling over power sampling"][-1] == "+5.8 (72.1% → 77.9%)"
    _, *rows = lines(settings_table(large_study(), PUBLISHED, STUDY))
    assert ["α", "4", "4", "4", "—", "2, 4"] in rows


def test_the_probe_stands_beside_the_earlier_one_for_the_same_model_only() -> None:
    text = section(report(earlier_study()), "## 4. Results")
    assert "| layer 33 | 12,520 / 12 | " in text
    assert "| layer 9 | 124,345 / 140,013 | " in text
    assert "| draft (mask) | 697 | 697 |" in text
    assert "4.1% / 20.5% | 0.2% / 0.2% |" in text
    other = configured(model=CONFIG["model"] | {"name": "Qwen/Qwen3-8B"})
    assert "12,520" not in report(earlier_study(), config=other)
    assert "The probe was not run." in report(small_study())
    assert "extrapolated as KL ∝ β² below the smallest" in report(earlier_study())


def test_the_probe_claims_what_its_tokens_allow() -> None:
    summary = earlier_study()
    measured = summary.probe.measured
    assert measured is not None
    assert "chosen on the problems that it is then tested on" in text_sentence(measured)
    assert "most likely one by construction" in text_sentence(changed(measured, over="greedy"))
    assert "favoured by luck" in hard_tokens_sentence(measured)
    assert "nothing follows from it" in hard_tokens_sentence(changed(measured, hard_tokens=29))
    assert "No token is hard" in hard_tokens_sentence(changed(measured, hard_tokens=0))
    first, second, *others = measured.blends[:4]
    tie = [changed(first, hard_better=0.2, log_loss=0.3)]
    tie += [changed(second, hard_better=0.2, log_loss=1.3)]
    said = hard_tokens_sentence(changed(measured, blends=(*tie, *others)))
    assert "Of the 4 blends measured, 2 rank equally many" in said
    assert "to 0.300 – 1.300." in said
    none = tuple(changed(blend, hard_better=0.0) for blend in measured.blends)
    assert "None of the blends" in hard_tokens_sentence(changed(measured, blends=none))
    near, far = (changed(measured.layers[0], layer=n) for n in (34, 12))
    assert "nearly is the last one" in suggested_sentence(near, measured)
    assert "nearly is the last one" not in suggested_sentence(far, measured)


def test_a_blend_that_changes_the_scale_is_told_from_one_that_does_not() -> None:
    (probed, *_) = earlier_study().probe.conditions
    for scale, says in ((1.2, "20% wider"), (0.8, "20% less"), (1.01, None)):
        (text, *_) = [*perturbation_sentences([changed(probed, scale=scale)]), None]
        assert text is None if says is None else says in text
    (text,) = perturbation_sentences([changed(probed, scale=1.0, match_kl=0.01, kl=0.01)])
    assert "was found by the probe" in text


def test_roles() -> None:
    conditions = earlier_study().conditions
    assert role_of(conditions["draft_blend_ps"]) == "draft_blend_power"
    assert role_of(conditions["temp"]) == "temperature"
    assert role_of(condition(TEMPERATURE | {"temperature": 1.0})) == "base"


def test_ordinary_sampling_is_not_taken_for_low_temperature() -> None:
    base = (EARLIER["temp"][0] | {"temperature": 1.0}, 50, 0, 626.0)
    conditions = {"base": base} | {name: EARLIER[name] for name in ("greedy", "temp", "ps")}
    _, *rows = lines(gains_table(study(conditions, easy=74, hard=30), PUBLISHED))
    ours = {row[0]: row[-1] for row in rows}
    assert ours["Power sampling over low temperature"] == "+1.9 (70.2% → 72.1%)"
    assert ours["Power sampling over ordinary sampling (base)"] == "+24.0 (48.1% → 72.1%)"
    assert ours["Low temperature over greedy"] == "−1.0 (71.2% → 70.2%)"


def test_the_condition_that_stands_for_others_is_named() -> None:
    assert stand_ins(earlier_study()) == ""
    summary = study({"a": EARLIER["ps"], "b": EARLIER["ps"]}, easy=74, hard=30)
    assert "the first is taken: `a` of `a` and `b`." in report(changed(summary, difficulty=None))


@pytest.mark.parametrize(
    ("difference", "p", "says", "does_not_say"),
    [
        (0.06, 0.001, "is more accurate than", "noise"),
        (-0.06, 0.001, "is less accurate than", "noise"),
        (0.06, 0.018, "is above `b`, which is suggestive only", "accurate"),
        (-0.06, 0.018, "is below `b`, which is suggestive only", "accurate"),
        (0.06, 0.5, "differ within noise", "accurate"),
        (0.0, 1.0, "equally many right answers: ±0.0 points, interval −5.0 to +5.0, p", "noise"),
    ],
)
def test_a_contrast_is_called_what_it_is(
    difference: float, p: float, says: str, does_not_say: str
) -> None:
    sentence = contrast_sentence(contrast("a - b", difference, p))
    assert says in sentence
    assert does_not_say not in sentence


@pytest.mark.parametrize(
    ("difference", "p", "says"),
    [
        (0.08, 0.001, "The blend does more for power sampling"),
        (-0.08, 0.001, "The blend does less for power sampling"),
        (0.08, 0.018, "may do more"),
        (-0.08, 0.018, "may do less"),
        (0.08, 0.5, "cannot be told"),
    ],
)
def test_an_interaction_is_called_what_it_is(difference: float, p: float, says: str) -> None:
    name = "(blend_ps - ps) - (blend_greedy - greedy)"
    row = contrast(name, difference, p, kind="interaction")
    assert says in contrast_sentence(row, FOUR)


@pytest.mark.parametrize(
    ("name", "difference", "does", "gain", "interval"),
    [
        ("(blend_ps - ps) - (blend_greedy - greedy)", 0.08, "more", "+8.0", "+3.0 to +13.0"),
        ("(blend_greedy - greedy) - (blend_ps - ps)", -0.08, "more", "+8.0", "+3.0 to +13.0"),
        ("(blend_ps - blend_greedy) - (ps - greedy)", -0.08, "less", "−8.0", "−13.0 to −3.0"),
        ("(ps - blend_ps) - (greedy - blend_greedy)", 0.08, "less", "−8.0", "−13.0 to −3.0"),
    ],
)
def test_an_interaction_may_be_declared_in_any_order(
    name: str, difference: float, does: str, gain: str, interval: str
) -> None:
    row = contrast(name, difference, 0.001, kind="interaction")
    sentence = contrast_sentence(row, FOUR)
    assert f"The blend does {does} for power sampling than for greedy decoding: {gain}" in sentence
    assert f"interval {interval}" in sentence
    summary = changed(earlier_study(), contrasts=(row,))
    [(finding, evidence, _)] = findings(summary)
    assert f"gain {does} than the sum" in finding
    assert gain in evidence
    assert sentence in section(report(summary), "### 4.4 Interaction")


def test_an_interaction_of_other_conditions_names_them() -> None:
    row = contrast("(draft_blend_ps - ps) - (temp - greedy)", 0.08, 0.001, kind="interaction")
    said = "The difference `draft_blend_ps` − `ps` is above `temp` − `greedy`: +8.0 points"
    assert said in contrast_sentence(row, FOUR)
    assert "above" not in contrast_sentence(changed(row, verdict="within noise"), FOUR)
    summary = changed(earlier_study(), contrasts=(row,))
    [(finding, _, _)] = findings(summary)
    assert finding == "`draft_blend_ps` − `ps` is above `temp` − `greedy`"
    four = section(report(summary), "### 4.4 Interaction")
    assert "not declared" in four
    assert "The blend does" not in report(summary)


@pytest.mark.parametrize(
    ("ps", "says"),
    [
        ([0.001, 0.018, 0.9], "Of 3 contrasts tested, 1 came out significant and 1 suggestive"),
        ([0.001], "Of 1 contrast tested, 1 came out significant."),
        ([0.018, 0.9], "none came out significant and 1 suggestive"),
        ([0.5, 0.9], "none can be told from noise"),
        ([], "no declared contrast"),
    ],
)
def test_contrasts_are_counted(ps: list[float], says: str) -> None:
    assert says in contrasts_sentence([contrast("a - b", 0.1, p) for p in ps])


def test_intervals_are_said_to_be_unadjusted_and_of_problems() -> None:
    one, several = report(earlier_study()), report(large_study())
    for text in (one, several):
        assert "are 95% each and not adjusted" in section(text, "### 4.5 Contrasts")
        assert "Bonett and Price's with the quantile of Student's t" in text
    assert "of the problems and not of the answers" not in one
    assert "of the problems and not of the answers" in several


def test_how_small_an_effect_the_study_could_see_is_said() -> None:
    """A size that follows from the study, not a chance that follows from the largest effect."""
    rows = [contrast("a - b", 0.1, 0.5, detectable=0.087), contrast("c - b", 0.0, 1.0)]
    rows.append(contrast("a - c", 0.1, 0.001, detectable=None))
    said = detectable_sentence(rows, 104)
    assert "A study of 104 problems" in said
    assert "finds a difference of 8.7 to 12.0 points, by contrast, with a chance of 80%" in said
    assert "not shown to be nothing" in said
    assert "of 12.0 points" in detectable_sentence(rows[1:], 104)
    assert detectable_sentence(rows[2:], 8) == ""
    assert "| 12.0 points |" in report(earlier_study())


def test_the_test_of_an_interaction_is_called_conservative() -> None:
    four = section(report(earlier_study()), "### 4.5 Contrasts")
    assert "there it is conservative" in four
    assert "conservative" not in section(report(small_study()), "### 4.5 Contrasts")


def test_no_report_speaks_of_a_bootstrap() -> None:
    for summary in (small_study(), earlier_study(), large_study()):
        assert "bootstrap" not in report(summary)


def test_the_spread_over_samples_is_named() -> None:
    text = section(report(large_study()), "### 4.7 Several samples")
    assert "| Condition | Mean ± standard error of the draws |" in text
    assert "of drawing the samples anew for these same problems" in text
    assert "`greedy` and `blend_greedy` give the same answer every time" in text
    sampled = tuple(s for s in large_study().sampling if s.condition == "temp")
    assert "every time" not in spread_sentence(changed(large_study(), sampling=sampled))


def test_chains_are_not_said_to_go_downhill() -> None:
    text = section(report(earlier_study()), "### 4.9 The chains")
    assert "log t per token, first block" in text
    assert "no sign that a chain climbs or falls" in text
    assert "| −0.62 | −0.62 |" in text


def test_hard_tokens_ranked_better_regress_to_the_mean() -> None:
    measured = earlier_study().probe.measured
    assert measured is not None
    for hard in (29, 120):
        said = hard_tokens_sentence(changed(measured, hard_tokens=hard))
        assert "regressing to the mean" in said


def test_a_trained_draft_is_said_to_differ_between_processors() -> None:
    said = "A trained draft is not the same on every processor"
    assert said in section(report(large_study()), "### 6.1 The draft")
    assert said not in report(earlier_study())
    assert "## A trained draft" in (ROOT / "docs" / "reproducibility.md").read_text()


def test_the_best_is_not_called_better_than_it_is() -> None:
    rows = earlier_study().overall
    assert "favoured by luck" in best_sentence(rows, [])
    assert "favoured by luck" in best_sentence(rows, [contrast("blend_ps - ps", 0.06, 0.5)])
    won = best_sentence(rows, [contrast("blend_ps - ps", 0.06, 0.001)])
    assert "significantly above `ps`" in won
    assert best_sentence(rows, [contrast("ps - blend_ps", -0.06, 0.001)]) == won
    assert "luck" not in best_sentence(rows[:1], [])
    assert "share the highest" in best_sentence(small_study().overall, [])


def test_overlap_takes_its_verdict_from_the_contrast() -> None:
    pair = Overlap(
        a="ps", b="blend_ps", both=74, only_a=1, only_b=7, neither=22, only_a_ids=(), only_b_ids=()
    )
    for p, says in ((0.001, "is significant"), (0.018, "suggestive"), (0.5, "within noise")):
        assert says in overlap_sentence(pair, [contrast("blend_ps - ps", 0.06, p)], 1)
        assert says in overlap_sentence(pair, [contrast("ps - blend_ps", -0.06, p)], 1)
        several = overlap_sentence(pair, [contrast("blend_ps - ps", 0.06, p)], 8)
        assert several.startswith("By the first sample of each, ")
        assert "No test is made of first samples" in several
        assert says not in several
    assert "no test is made" in overlap_sentence(pair, [contrast("ps - greedy", 0.06, 0.001)], 1)
    assert "a net +6" in overlap_sentence(pair, [], 1)
    assert "a net −6" in overlap_sentence(changed(pair, only_a=7, only_b=1), [], 1)
    assert "the same problems" in overlap_sentence(changed(pair, only_a=0, only_b=0), [], 1)


def test_hard_problems() -> None:
    difficulty = earlier_study().difficulty
    assert difficulty is not None
    assert "`blend_ps` solves the most: 8 of 30" in hard_sentence(difficulty)
    rows = difficulty.rows
    tied = [changed(row, hard_correct=8, hard_accuracy=8 / 30) for row in rows[-2:]]
    both = hard_sentence(changed(difficulty, rows=(*rows[:-2], *tied)))
    assert "`blend_ps` and `draft_blend_ps` each solve the most: 8 of 30" in both
    none = tuple(changed(row, hard_correct=0, hard_accuracy=0.0) for row in rows)
    assert "No other condition" in hard_sentence(changed(difficulty, rows=none))
    assert "no hard problem" in hard_sentence(changed(difficulty, hard=0))


def test_graders() -> None:
    first, second = small_study().overall
    assert "differ on none" in graders_sentence([first, second])
    other = changed(first, disagreements=1, second_accuracy=0.5)
    assert "differ on 1 of 16 answers" in graders_sentence([other, second])
    nothing = {"second_correct": None, "second_accuracy": None}
    alone = [changed(result, **nothing) for result in (first, second)]
    assert "No second opinion" in graders_sentence(alone)


def test_effects_are_added_up() -> None:
    sentence = additive_sentence(FOUR, earlier_study().accuracies())
    assert "−2.9 points" in sentence
    assert "−1.9 points if the two merely added up" in sentence
    assert "+6.7 points" in sentence


def test_the_price_of_a_chain() -> None:
    summary = earlier_study(("greedy", "ps"))
    said = compute_sentence(summary)
    assert said.startswith("An answer by power sampling takes 8.0 times the decoded tokens")
    assert compute_sentence(changed(summary, overall=summary.overall[:1])) == ""


def test_a_chain_stands_beside_the_choices_that_it_would_pay_for() -> None:
    text = section(report(large_study()), "### 4.8 Accuracy against compute")
    for said in (
        "Of 3 intervals, 1 excludes 0, where one in twenty is expected to by chance: `ps` less "
        "best by log p of 4 `temp` at equal seconds, −1.9 points.",
        "| `ps` | `temp` | majority | decoded tokens | 8.00 | 4.00 | 72.1% | 74.0% | −1.9 points |",
        "| `ps` | `temp` | best by log p | seconds | 8.00 | 4.00 |",
        "| `draft_blend_ps` | `temp` | majority | decoded tokens | 1.97 | 1.97 |",
    ):
        assert said in text
    assert "would pay for" not in report(earlier_study())


def test_draft_sentences_come_from_contrasts() -> None:
    def said(name: str, difference: float, p: float) -> str:
        declared = (contrast(name, difference, p),)
        return draft_sentence(changed(earlier_study(), contrasts=declared))

    assert "`draft_blend_ps` is less accurate" in said("draft_blend_ps - ps", -0.05, 0.001)
    turned = said("ps - draft_blend_ps", 0.05, 0.001)
    assert "`draft_blend_ps` is less accurate" in turned
    assert "interval −10.0 to ±0.0" in turned
    assert "none is tested" in said("ps - greedy", 0.1, 0.5)


def with_steps(how: Condition, steps: int) -> Condition:
    """The condition with so many moves in a block of its chain, if it has one."""
    chain = how.chain and changed(how.chain, steps=steps)
    return changed(how, description=changed(how.description, chain=chain))


def test_limitations_follow_from_the_run() -> None:
    small = " ".join(limitations(earlier_study(), STUDY))
    for word in ("104 problems", "One sample, one seed", "Short chains", "Truncation", "swept"):
        assert word in small
    summary = large_study()
    results = tuple(changed(result, truncated=0.0, unboxed=0.0) for result in summary.overall)
    conditions = {name: with_steps(how, 10) for name, how in summary.conditions.items()}
    summary = changed(summary, overall=results, conditions=conditions)
    large = " ".join(limitations(summary, STUDY))
    assert "500 problems" in large
    for word in ("One sample", "Short chains", "Truncation", "Missing answers", "swept"):
        assert word not in large
    assert next_steps(summary, configured(shards={"of": 40, "use": "0-39"})) == [
        "Other models and problem sets."
    ]
    assert len(next_steps(earlier_study(), STUDY)) == 5


class Undrawn(Sampler):
    """A sampler that is reported on, and draws nothing."""

    def draw(self, logits: object, uniforms: object, current: object) -> Any:
        raise NotImplementedError


class Top2(Undrawn):
    """A draw from the two most likely tokens, which says nothing more of itself."""

    sampler: Literal["top2"] = "top2"

    def schedule(self) -> Schedule:
        return Schedule(self.max_new_tokens)


class Annealed(Undrawn):
    """A Metropolis-Hastings sampler of its own name."""

    sampler: Literal["annealed"] = "annealed"
    proposal: Literal["base", "target"] = "base"
    moves: int = 3

    def schedule(self) -> Schedule:
        return Schedule(self.max_new_tokens, blocks=4, steps=self.moves)


class Hasty(Annealed):
    """One whose acceptance is not exact."""

    sampler: Literal["hasty"] = "hasty"  # type: ignore[assignment]

    def chain_description(self) -> ChainDescription | None:
        exact = super().chain_description()
        return exact and exact.model_copy(update={"acceptance": "hasty", "exact": False})


def with_samplers(**samplers: Sampler) -> Summary:
    """The earlier study, with conditions of these samplers in it: the results are those of ps."""
    summary = earlier_study(("greedy", "temp"))
    described = {name: condition_of(sampler) for name, sampler in samplers.items()}
    result = next(r for r in earlier_study().overall if r.condition == "ps")
    results = [changed(result, condition=name) for name in samplers]
    return changed(
        summary,
        conditions=summary.conditions | described,
        overall=(*summary.overall, *results),
    )


def test_a_sampler_of_any_name_is_reported_as_what_it_is() -> None:
    """It describes itself: nothing that reports on it knows its name."""
    blend = LayerBlend(layer=33, beta=0.05)
    summary = with_samplers(
        top2=Top2(max_new_tokens=1024),
        annealed=Annealed(max_new_tokens=1024),
        blended=Annealed(max_new_tokens=1024, blend=blend, proposal="target"),
    )
    text = report(summary)
    chain = "3 moves × 4 blocks, acceptance `exact`, proposals from"
    for row in (
        "| `top2` | p | top2: a draw per token from p | no | — |",
        f"| `annealed` | p | annealed: Metropolis–Hastings over answers of p | {chain} p | — |",
        "| `blended` | p_guided | annealed: Metropolis–Hastings over answers of p_guided | "
        f"{chain} the target | layer 33, β = 0.05, norm none |",
        "Every chain of this study uses this acceptance",
        "q is made from p_guided as well",
    ):
        assert row in text
    limits = " ".join(limitations(summary, STUDY))
    assert "**Short chains**: 3 moves per block" in limits
    assert "The kernel leaves its target invariant" in limits
    assert "not exact" not in limits
    assert compute_sentence(summary).startswith("An answer by annealed takes 8.0 times")
    roles = {name: role_of(how) for name, how in summary.conditions.items()}
    assert roles["top2"] == "top2"
    assert (roles["annealed"], roles["blended"]) == ("annealed", "blend_annealed")
    ways = {way.name: way.how for _, way in grid_of(summary.conditions)}
    assert ways["annealed"] == "Metropolis–Hastings\nover whole answers"
    assert ways["top2"] == "a draw per token"


def test_a_chain_that_is_not_exact_is_a_limitation_whatever_its_name() -> None:
    summary = with_samplers(hasty=Hasty(max_new_tokens=1024), ps=parse_sampler(POWER))
    limits = " ".join(limitations(summary, STUDY))
    assert "**Acceptance `hasty`** in `hasty`: it is not exact" in limits
    assert "leaves its target invariant" not in limits
    assert "published code" not in limits
    text = report(summary)
    assert "Every chain of this study" not in text
    assert "the chain does not leave its target invariant" in section(text, "## 2. Method")


def test_numbers_that_cannot_be_read_are_named_with_their_file(tmp_path: Path) -> None:
    path = tmp_path / "published.yaml"
    path.write_text("results: [{source: a, model: m, method: b, role: base, accuracy: much}]")
    with pytest.raises(ValueError, match=r"published\.yaml: results\.0\.accuracy: .*'much'"):
        PublishedNumbers.read_yaml(path)
    path.write_text("results: [")
    with pytest.raises(ValueError, match=r"published\.yaml: not YAML"):
        PublishedNumbers.read_yaml(path)
    path.write_text("")
    assert PublishedNumbers.read_yaml(path) == PublishedNumbers()


def test_the_report_is_written_without_matplotlib() -> None:
    program = "import sys, powerblend.report; sys.exit('matplotlib' in sys.modules)"
    subprocess.run([sys.executable, "-c", program], env=environment(), check=True)


@pytest.mark.parametrize(
    ("alphas", "betas", "limit", "step", "map_"),
    [
        ([4], [0.05], "α and β were not swept", "α and β.", "sweeps neither α nor β"),
        ([1, 2, 4], [], None, None, "ran α = 1, 2, 4, but"),
        ([4], [0.01, 0.05], "α was not swept", "α.", "ran β = 0.01, 0.05, but"),
        ([2, 4], [0.05], "β was not swept", "β.", "ran α = 2, 4, but"),
    ],
)
def test_a_sweep_is_what_ran(
    alphas: list[int], betas: list[float], limit: str | None, step: str | None, map_: str
) -> None:
    laws = [{}, *({"blend": EARLIER["blend_ps"][0]["blend"] | {"beta": beta}} for beta in betas)]
    conditions = {
        f"c{index}": (EARLIER["ps"][0] | {"alpha": alpha} | law, 70, 5, 613.0)
        for index, (alpha, law) in enumerate(product(alphas, laws))
    }
    summary = study({"greedy": EARLIER["greedy"]} | conditions, easy=74, hard=30)
    said = [text for text in limitations(summary, STUDY) if "swept" in text]
    assert said == [] if limit is None else limit in said[0]
    steps = [text for text in next_steps(summary, STUDY) if "sweep" in text]
    assert steps == ([] if step is None else [f"A sweep of {step}"])
    assert map_ in section(report(summary), "### 4.10 Sweep of α and β")


@pytest.mark.parametrize(
    ("p", "verb", "says"),
    [
        (0.001, "beats", "holds after adjustment"),
        (0.018, "may differ from", "Nothing below is established"),
        (0.5, "is not told from", "no proof that they are alike"),
    ],
)
def test_conclusions_are_as_strong_as_their_contrasts(p: float, verb: str, says: str) -> None:
    summary = changed(earlier_study(), contrasts=(contrast("blend_ps - ps", 0.0577, p),))
    [(finding, evidence, _)] = findings(summary)
    assert finding == f"`blend_ps` {verb} `ps`"
    assert evidence == "77.9% against 72.1%: +5.8 points, +8.0% relative"
    assert says in conclusion(summary)
    assert "concludes nothing" in conclusion(changed(summary, contrasts=()))


@pytest.mark.parametrize("text", HOSTILE)
def test_foreign_text_is_text_in_a_table(text: str) -> None:
    markdown = table(["a", "b", "c"], [[escaped(text), "middle", escaped(text)]])
    page = Page(MarkdownIt("commonmark", {"html": True}).enable("table").render(markdown))
    assert {tag for tag, _ in page.tags} == {"table", "thead", "tbody", "tr", "th", "td"}
    seen = "".join(c if c.isprintable() else " " for c in text).strip()
    assert [value.strip() for value in page.rows[1]] == [seen, "middle", seen]


def test_foreign_text_does_nothing_in_the_report(tmp_path: Path) -> None:
    summary = earlier_study()
    keys: dict[str, Any] = {"condition": "ps", "sample": 0}
    differ: dict[str, Any] = keys | {"correct": True, "second": False}
    summary = changed(
        summary,
        disagreements=tuple(
            Disagreement(problem_id=text, answer=text, gold=text, **differ) for text in HOSTILE
        ),
        ungraded=tuple(Ungraded(problem_id=text, reason=text, **keys) for text in HOSTILE),
        overlaps=tuple(changed(pair, only_a_ids=tuple(HOSTILE)) for pair in summary.overlaps),
    )
    run = {"config_yaml": "a: '```'\n<script>x</script>", "command": "snakemake ```"}
    page = Page(render_html(report(summary, **run), "</title><script>", {}))
    tags = {tag for tag, _ in page.tags}
    assert not tags & {"iframe", "object", "form"}
    assert [tag for tag, _ in page.tags].count("script") == 1  # the page's own
    links = {attrs["href"] for tag, attrs in page.tags if tag == "a"} - contents(page)
    papers = "2510.14901", "2602.06036", "2609.38104"
    assert links == {f"https://arxiv.org/abs/{paper}" for paper in papers}
    assert len([tag for tag, _ in page.tags if tag == "h1"]) == 1


def test_kernels_are_compared_at_equal_decoded_tokens() -> None:
    text = section(report(large_study()), "### 4.14 Kernels")
    assert "is everything but `temp` (100)." in text
    assert "8 intervals, 1 excludes 0" in text
    assert "`csmc`, vote of its particles, by weight, +20.0 points." in text
    for row in (
        "| `ps` | — | 5000.0 | 70.0% | 65.0% – 75.0% | — | — |",
        "| `temp` | frequency^4 of 2.5 | 5000.0 | 70.0% | 65.0% – 75.0% | +1.0 points |",
        "| `tempering` | 5000.0 | 1.5 | 0.7 | 3 | 1.5: 25%, 2: 50% | — |",
        "| `csmc` | 5000.0 | 1.5 | — | — | — | 3.4 of 8 |",
    ):
        assert row in text
    assert "4.14" not in report(earlier_study())


def test_distance_from_the_power_distribution_is_told_three_ways() -> None:
    text = section(report(large_study()), "### 4.15 How far")
    assert "Chains agree best in `ps`: R-hat is below 1.01 in 2 of the 4 problems" in text
    assert "On 2 of 4 problems more than 90% of the draws of `temp` are left" in text
    assert "less than half of them on 2:" in text
    assert (
        "Of 4 intervals of the difference of log p, 3 exclude 0: `temp` and `ps_0` below "
        "`blend_ps`, and `published` above `blend_ps`. Not told from it: `ps`."
    ) in text
    assert "`temp`, `ps_0` and `published` are apart: their intervals are above 0 and above" in text
    assert "With 2 moves per block, log p is −0.20 nats" in text
    for row in (
        "| `ps` | 4 × 16 | 4 of 6 | 2 | 1.15 | ∞ | 30.8 | 8.0 |",
        "| `blend_ps` | 4 × 16 | 0 of 6 | 0 | — | — | — | — |",
        "| `temp` | 4 | 4 | 2.70 | 1.00 | 2 of 4 | 50.0% | 55.0% |",
        "| `ps` | 2 | 1800.0 | 50.0% | −20.20 | −0.20 | −0.70 to +0.30 | 40.0% | 30.0% – 50.0% |",
        "| `blend_ps` |  |  |  | −20.00 |  | −0.30 to +0.30 |  | 45.0% – 55.0% |  | −0.30",
    ):
        assert row in text
    assert "4.15" not in report(earlier_study())


def test_a_study_with_no_long_run_tells_the_rest() -> None:
    summary = large_study()
    assert summary.convergence is not None
    rest = changed(summary.convergence, long_run=None, parallel=summary.convergence.parallel[1:])
    text = section(report(changed(summary, convergence=rest)), "### 4.15 How far")
    assert "In no problem log p varies" in text
    assert "stands for p^α" not in text
    only = changed(rest, parallel=())
    text = section(report(changed(summary, convergence=only)), "### 4.15 How far")
    assert "*R-hat*" not in text
    assert "By weight" in text


def test_blends_are_measured_on_own_answers_beside_solutions() -> None:
    text = section(report(earlier_study()), "### 4.13 The probe")
    assert "| KL(p ‖ p_guided) | on own answers | Argmax flips | on own answers | Scale |" in text
    assert "| 0.0025 | 0.0013 | 2.5% | 1.2% | 1.05 | 1.01 |" in text
    assert "on 3,000 of 60,000 tokens of the model's own greedy answers to 100 problems" in text
    assert "KL there is 0.5 times that on solutions" in text
    summary = earlier_study()
    solutions = [changed(probed, own=None) for probed in summary.probe.conditions]
    alone = changed(summary, probe=changed(summary.probe, conditions=tuple(solutions)))
    assert "own answers" not in section(report(alone), "### 4.13 The probe")


def test_a_blend_stands_beside_what_is_of_its_size() -> None:
    text = section(report(large_study()), "### 4.16 Controls")
    for row in (
        "| `blend_ps` | layer 33, norm none, β = 0.05 | — |",
        "| `ps` | no blend | — | — | — | — |",
        "| `draft_blend_ps` | random, β = 0.2 | KL |",
        "| `temp` | α = 4.5 | scale |",
        "| `greedy` | layer 9, norm None, β = -0.1 | scale |",
    ):
        assert row in text
    assert "not declared" in text
    assert (
        "That `blend_ps` does anything that noise or a lower temperature of the same size does not "
        "is not shown: more accurate than `temp`, it is not told to be so from `ps` and "
        "`draft_blend_ps`. A difference of 12.0 points would have been found"
    ) in text
    assert "4.16" not in report(earlier_study())


@pytest.mark.parametrize(
    ("verdicts", "signs", "said"),
    [
        (["significant"] * 3, [1, 1, 1], "does something that neither noise nor"),
        (["equivalent"] * 3, [1, -1, 1], "`blend_ps` does what noise and a lower temperature of"),
        (["significant", "equivalent", "within noise"], [-1, 1, 1], "Nothing here shows that"),
        (
            ["significant", "equivalent", "within noise"],
            [-1, 1, 1],
            "it is less accurate than `ps`",
        ),
        (["within noise"] * 3, [1, 1, 1], "can neither be told from it nor be called equal to it"),
        (["suggestive"] * 3, [1, 1, 1], "Nothing here shows that"),
        (["significant", "significant", "equivalent"], [1, 1, 1], "is not shown: more accurate"),
        ([], [], "nothing is tested"),
    ],
)
def test_what_a_blend_does_is_said_as_its_controls_allow(
    verdicts: list[str], signs: list[int], said: str
) -> None:
    (blend,) = large_study().controls
    names = ["ps", "noise", "exponent"]
    found = [
        contrast(f"blend_ps - {name}", 0.05 * sign, 0.5, verdict=verdict)
        for name, verdict, sign in zip(names, verdicts, signs, strict=False)
    ]
    plain, *others = [*found, None, None, None][:3]
    ignorant = blend.controls[:2]
    tested = [changed(c, contrast=test) for c, test in zip(ignorant, others, strict=True)]
    text = controls.verdict_sentence(changed(blend, plain_contrast=plain, controls=tuple(tested)))
    assert said in text
    better = [v == "significant" and sign > 0 for v, sign in zip(verdicts, signs, strict=True)]
    assert ("does something" in text) == bool(better and all(better))


def test_several_seeds_are_reported_as_what_they_are() -> None:
    text = report(large_study())
    assert "| Condition | 42 (n = 500) | 43 (n = 500) |" in section(text, "### 4.7 Several samples")
    assert setup.seeds(parse_study(BASE)) == "seed 42"
    several = parse_study(BASE | {"seeds": [42, 7], "samples": 2})
    assert setup.seeds(several) == "2 of each of the seeds 42 and 7"
    (said,) = [s for s in limitations(large_study(), several) if "seeds" in s]
    assert said == "**4 samples per problem**: 2 of each of 2 seeds (42, 7)."
    assert "By seed" not in report(earlier_study())


def test_chains_are_told_by_what_they_changed() -> None:
    text = section(report(large_study()), "### 4.9 The chains")
    assert "Of the moves, 12.5% changed the answer" in text
    assert "| `ps` | 32.0 | 4.0 | 0.8 | 30.0% | 65.4% | — |" in text
    assert "| `blend_ps` | 32.0 | 4.0 | 0.8 | 30.0% | 40.0% | 50.0% |" in text
    assert text.index("Changed the answer") < text.index("Acceptance |")


def test_long_answers_are_cut() -> None:
    assert len(escaped("x" * 1_000_000)) <= 80


def test_the_page_holds_its_figures_and_fetches_nothing(tmp_path: Path) -> None:
    markdown = report(large_study())
    files = {}
    for name, path in FIGURE_PATHS.items():
        files[path] = tmp_path / f"{name}.png"
        files[path].write_bytes(f"pixels of {name}".encode())
    html = render_html(markdown, "A & B", files)
    page = Page(html)
    sources = [str(attrs["src"]) for tag, attrs in page.tags if tag == "img"]
    assert len(sources) == len(FIGURES)
    assert all(source.startswith("data:image/png;base64,") for source in sources)
    assert "link" not in {tag for tag, _ in page.tags}
    assert [attrs for tag, attrs in page.tags if tag == "script"] == [{}]
    assert "<title>A &amp; B</title>" in html


def contents(page: Page) -> set[str | None]:
    """Links to what the page has a name for."""
    return {f"#{attrs['id']}" for _, attrs in page.tags if "id" in attrs}


def test_the_page_has_a_table_of_contents() -> None:
    markdown = report(large_study())
    page = Page(render_html(markdown, "A study", {}))
    headings = re.findall(r"^##+ (.*)$", re.sub(r"(?ms)^```.*?^```$", "", markdown), re.MULTILINE)
    linked = [a["href"] for tag, a in page.tags if tag == "a" and str(a["href"]).startswith("#")]
    assert len(linked) == len(set(linked)) == len(headings) > 8
    assert set(linked) == contents(page)
    assert "#4-results" in linked


def test_headings_of_the_same_words_have_names_of_their_own() -> None:
    page = Page(render_html("## A b\n\n## A b\n\n### `x` < y\n\n## !\n", "title", {}))
    assert contents(page) == {"#a-b", "#a-b-", "#x-y", "#section"}


TABLE = """
| name | n | share |
|---|---:|---|
| `b` | 10 | 97.3% (72/74) |
| `a` | 9 | −5.0 |
| `c` | 1,000 | — |
"""


@pytest.mark.browser
def test_a_click_sorts_a_table(tmp_path: Path) -> None:
    from browser import Browser

    page = tmp_path / "page.html"
    page.write_text(render_html("## Part\n" + TABLE, "A study", {}), encoding="utf-8")
    names = "[...document.querySelectorAll('tbody tr')].map(r => r.cells[0].textContent).join('')"
    with Browser(tmp_path / "profile") as browser:
        browser.open(page)

        def clicked(column: int) -> Any:
            browser.value(f"document.querySelectorAll('th')[{column}].click()")
            return browser.value(names)

        assert browser.value(names) == "bac"
        assert [clicked(0), clicked(0)] == ["abc", "cba"]
        assert [clicked(1), clicked(1)] == ["abc", "cba"]
        assert [clicked(2), clicked(2)] == ["abc", "cba"]
        assert browser.value("document.querySelector('[aria-sort]').textContent") == "share"


def test_figures_are_named_relative_to_the_report() -> None:
    text = report(large_study())
    for name in FIGURES:
        assert f"](math500/{name}.png)" in text


def test_values_as_text() -> None:
    assert percent(None) == "—"
    assert percent(0.12345) == "12.3%"
    assert [points(x) for x in (0.0577, -0.0288, 0.0, None)] == [
        "+5.8 points", "−2.9 points", "±0.0 points", "—",
    ]  # fmt: skip
    assert [p_value(p) for p in (0.0703, 0.00001, None)] == ["0.0703", "< 0.0001", "—"]
    assert series(["a", "b", "c"]) == "a, b and c"
    assert code_block("a\n```\nb", "yaml") == "````yaml\na\n```\nb\n````"


def test_a_report_written_anew_is_of_its_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def git(*arguments: str) -> str:
        who = ["-c", "user.name=a", "-c", "user.email=a@b"]
        done = subprocess.run(["git", *who, *arguments], capture_output=True, text=True, check=True)
        return done.stdout.strip()

    monkeypatch.chdir(tmp_path)
    (tmp_path / "report").mkdir()
    report, code = tmp_path / "report" / "demo.md", tmp_path / "code.py"
    report.write_text("1")
    code.write_text("1")
    git("init", "--quiet")
    git("add", ".")
    git("commit", "--quiet", "--message", "1")
    commit = git("rev-parse", "--short=12", "HEAD")
    report.write_text("2")
    assert git_revision() == commit
    code.write_text("2")
    assert git_revision() == f"{commit}-dirty"


@pytest.mark.parametrize(
    ("flags", "name"),
    [
        ("fpu avx avx2 avx512f avx512vl", "AMD EPYC with AVX-512"),
        ("fpu avx avx2", "AMD EPYC with AVX2"),
        ("fpu avx", "AMD EPYC"),
    ],
)
def test_a_processor_is_named_with_its_vectors(flags: str, name: str, tmp_path: Path) -> None:
    one = f"processor\t: 0\nmodel name\t: AMD EPYC\nflags\t\t: {flags}\n"
    (tmp_path / "cpuinfo").write_text(f"{one}\n{one}")
    assert cpu_name(tmp_path / "cpuinfo") == name
    assert cpu_name(tmp_path / "none")
