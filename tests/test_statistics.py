"""Every statistic agrees with an independent computation, at its edges too."""

import json
import sys
from collections.abc import Mapping, Sequence
from itertools import combinations, product
from math import comb
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from scipy import optimize, stats
from statsmodels.stats.contingency_tables import SquareTable

from powerblend.analysis.contrasts import contrasts, verdict
from powerblend.analysis.difficulty import difficulty
from powerblend.analysis.grades import read_grades
from powerblend.analysis.matched import matched
from powerblend.analysis.overall import overall
from powerblend.analysis.overlap import overlaps
from powerblend.analysis.paired import (
    compare_clustered,
    compare_single,
    detectable_by_mcnemar,
    detectable_by_t,
    difference_interval,
    equivalence_p,
    mcnemar_power,
    sign_flip_p,
)
from powerblend.analysis.several_samples import (
    best_of,
    choices,
    majority_at,
    pass_at,
    several_samples,
)
from powerblend.analysis.summary import condition_of, summarise
from powerblend.infrastructure.files import write_jsonl
from powerblend.study.contrasts import CONTRASTS, parse_contrast
from powerblend.study.schema import parse_study
from powerblend.vocabulary.errors import ConfigError
from powerblend.vocabulary.summary import ConditionDifficulty, ConditionResult, Summary, ValueAtK
from small_study import ROOT, merged

sys.path.insert(0, str(ROOT / "benchmarks"))
import coverage

BASE: dict[str, Any] = yaml.safe_load((ROOT / "config.yaml").read_text())
MARGIN = 0.03
RNG = np.random.default_rng(20260)


def answer(**fields: Any) -> dict[str, Any]:
    """A grade row: greedy's, unless told otherwise."""
    row = {
        "sample": 0,
        "correct": True,
        "reason": None,
        "answer": "1",
        "gold": "1",
        "subject": "Algebra",
        "level": 1,
        "n_tokens": 100,
        "finish": "eos",
        "decoded_tokens": 100,
        "moves": 0,
        "accepted": 0,
        "unchanged": 0,
        "early_rejected": 0,
        "log_p": -1.0,
        "log_t": -1.0,
        "accepted_by_block": [0],
        "log_t_by_block": [-1.0],
        "seconds": 2.0,
    } | fields
    return {"second": row["correct"]} | row


def grades_of(right: Mapping[str, Sequence[Any]], **fields: Any) -> pd.DataFrame:
    """Grades from each condition's verdicts by problem, or by problem and sample."""
    rows = [
        answer(condition=condition, problem_id=f"p/{i}", sample=s, correct=bool(value), **fields)
        for condition, problems in right.items()
        for i, samples in enumerate(problems)
        for s, value in enumerate(np.atleast_1d(samples))
    ]
    return pd.DataFrame(rows)


def study(**changes: Any) -> Any:
    return parse_study(merged(BASE, changes))


def summary_of(grades: pd.DataFrame, declared: Sequence[str] = CONTRASTS) -> Summary:
    conditions = list(dict.fromkeys(grades["condition"]))
    summary = summarise(grades, study(use=conditions).samplers(), declared)
    text = json.dumps(summary.model_dump(mode="json"), allow_nan=False)
    assert Summary.model_validate_json(text) == summary
    return summary


def result_of(grades: pd.DataFrame) -> ConditionResult:
    """The overall result of the only condition."""
    (result,) = overall(grades)
    return result


def pairs(b: int, c: int, both: int = 0, neither: int = 0) -> tuple[Any, Any]:
    """Verdicts with these counts: only the first right, only the second, both, neither."""
    first = np.repeat([1, 0, 1, 0], [b, c, both, neither])
    second = np.repeat([0, 1, 1, 0], [b, c, both, neither])
    return first, second


# Accuracy


@pytest.mark.parametrize(("correct", "total"), [(0, 1), (1, 1), (7, 10), (104, 104), (81, 104)])
def test_intervals_are_wilsons(correct: int, total: int) -> None:
    row = result_of(grades_of({"greedy": [1] * correct + [0] * (total - correct)}))
    expected = stats.binomtest(correct, total).proportion_ci(0.95, method="wilson")
    assert (row.correct, row.total) == (correct, total)
    assert [row.low, row.high] == pytest.approx([expected.low, expected.high], abs=1e-9)


@pytest.mark.parametrize(("correct", "end", "value"), [(0, "low", 0.0), (53, "high", 1.0)])
def test_an_interval_ends_at_nothing_and_at_all(correct: int, end: str, value: float) -> None:
    row = result_of(grades_of({"greedy": [1] * correct + [0] * (53 - correct)}))
    assert getattr(row, end) == value


def test_samples_do_not_narrow_an_interval_as_if_they_were_problems() -> None:
    one = result_of(grades_of({"greedy": [1, 1, 0, 1]}))
    many = result_of(grades_of({"greedy": [[1] * 8, [1] * 8, [0] * 8, [1] * 8]}))
    assert [many.low, many.high] == pytest.approx([one.low, one.high])
    assert (many.correct, many.total) == (24, 32)


def test_what_stands_beside_an_accuracy() -> None:
    rows = [
        answer(problem_id="a", moves=4, accepted=3, unchanged=2, early_rejected=1),
        answer(problem_id="b", moves=4, accepted=1, finish="length", answer=None, correct=False),
        answer(problem_id="c", correct=True, second=False, decoded_tokens=400, seconds=5.0),
        answer(problem_id="d", correct=True, second=None, reason="took longer than 20 s"),
    ]
    row = result_of(pd.DataFrame(rows).assign(condition="ps"))
    assert row.acceptance == 4 / 8
    assert row.unchanged == 2 / 8
    assert row.early_rejected == 1 / 8
    assert row.truncated == row.unboxed == 1 / 4
    assert row.decoded_tokens == 700 / 4
    assert row.seconds == 11 / 4
    assert row.tokens == 100
    assert (row.second_correct, row.second_accuracy, row.disagreements) == (1, 1 / 4, 1)


def test_without_moves_there_is_no_acceptance() -> None:
    row = summary_of(grades_of({"greedy": [1, 0]})).overall[0]
    assert row.acceptance is row.unchanged is row.early_rejected is None


# Contrasts with one answer per problem


@pytest.mark.parametrize(("b", "c"), [(7, 1), (1, 7), (0, 5), (4, 4), (12, 3), (0, 0), (1, 0)])
def test_p_is_the_exact_mcnemar_test(b: int, c: int) -> None:
    result = compare_single(*pairs(b, c, both=9, neither=5), MARGIN)
    expected = stats.binomtest(b, b + c).pvalue if b + c else 1.0
    assert (result.b, result.c) == (b, c)
    assert result.difference == pytest.approx((b - c) / (b + c + 14))
    assert result.p == pytest.approx(expected)


def test_large_counts_approach_mcnemars_chi_square() -> None:
    first, second = pairs(260, 200, both=100, neither=40)
    table = SquareTable(pd.crosstab(first, second).to_numpy(), shift_zeros=False)
    expected = table.symmetry().pvalue
    assert compare_single(first, second, MARGIN).p == pytest.approx(expected, abs=0.01)


@pytest.mark.parametrize(("b", "c"), [(7, 1), (0, 0), (12, 3), (30, 10)])
def test_the_interval_is_walds_after_one_more_problem_each_way(b: int, c: int) -> None:
    """Bonett and Price's, but for Student's t: 1.982597 is its quantile at 105 degrees."""
    n = 104
    first, second = pairs(b + 1, c + 1, neither=n - b - c)
    differences = first - second
    error = differences.std() / np.sqrt(n + 2)
    expected = differences.mean() + error * np.array([-1.982815, 1.982815])
    result = compare_single(*pairs(b, c, neither=n - b - c), MARGIN)
    assert (result.low, result.high) == pytest.approx(expected, abs=1e-6)


def test_an_interval_of_several_answers_is_theirs_after_problems_of_their_scale() -> None:
    """Two more problems, that differ by sqrt((8 + 1) / 2) of 8 answers."""
    differences = RNG.integers(-5, 6, 13) / 8
    more = np.append(differences, [np.sqrt(4.5) / 8, -np.sqrt(4.5) / 8])
    error = more.std() / np.sqrt(15) * stats.t.ppf(0.975, 14)
    expected = more.mean() - error, more.mean() + error
    assert difference_interval(differences, 8) == pytest.approx(expected)


def test_an_interval_ends_where_differences_do() -> None:
    assert difference_interval(np.ones(1), 1) == (pytest.approx(-1), 1.0)
    assert difference_interval(np.full(2, 2.0), 1, largest=2)[1] == 2.0


@pytest.mark.parametrize(("b", "c", "n"), [(7, 1, 104), (20, 8, 104), (0, 0, 50), (60, 30, 500)])
def test_the_interval_is_close_to_tangos_score_interval(b: int, c: int, n: int) -> None:
    def score(delta: float) -> float:
        """Tango, Statistics in Medicine 17 (1998), eq. 5: McNemar's statistic against delta."""
        a = 2 * n
        linear = -b - c + (2 * n - b + c) * delta
        q = (np.sqrt(linear**2 + 4 * a * c * delta * (1 - delta)) - linear) / (2 * a)
        return (b - c - n * delta) / np.sqrt(n * (2 * q + delta * (1 - delta)))

    middle = (b - c) / n
    low = optimize.brentq(lambda d: score(d) - 1.959964, -0.999, middle - 1e-9)
    high = optimize.brentq(lambda d: score(d) + 1.959964, middle + 1e-9, 0.999)
    result = compare_single(*pairs(b, c, neither=n - b - c), MARGIN)
    assert (result.low, result.high) == pytest.approx((low, high), abs=0.02)


@pytest.mark.parametrize(("b", "c", "n"), [(3, 1, 12), (5, 0, 9), (2, 2, 10), (0, 4, 30)])
def test_power_is_the_chance_of_a_small_p(b: int, c: int, n: int) -> None:
    expected = 0.0
    for ours, theirs in product(range(n + 1), repeat=2):
        if ours + theirs <= n and stats.binomtest(ours, max(ours + theirs, 1)).pvalue < 0.05:
            neither = n - ours - theirs
            chance = stats.multinomial.pmf(
                [ours, theirs, neither], n, [b / n, c / n, 1 - (b + c) / n]
            )
            expected += chance if ours + theirs else 0.0
    assert mcnemar_power(b, c, n) == pytest.approx(expected, abs=1e-9)


def test_power_of_a_simulated_study() -> None:
    counts = RNG.multinomial(104, [0.15, 0.05, 0.8], size=4000)[:, :2]
    p = np.minimum(1, 2 * stats.binom.cdf(counts.min(axis=1), counts.sum(axis=1), 0.5))
    share = np.mean(p < 0.05)
    assert mcnemar_power(15, 5, 100) == pytest.approx(share, abs=0.05)
    n = 100
    assert mcnemar_power(15, 5, n) < mcnemar_power(75, 25, 5 * n)


# Contrasts that resample problems


def flipped(differences: Sequence[int]) -> float:
    """The sign-flip test by enumeration."""
    sums = [np.dot(signs, differences) for signs in product([1, -1], repeat=len(differences))]
    return float(np.mean(np.abs(sums) >= abs(sum(differences))))


@pytest.mark.parametrize(
    "differences",
    [
        [],
        [0],
        [-3],
        [3, 1, 0, -1, 2],
        [1, 1, 1],
        [2, -2],
        [4, 4, -1, 3, 0, 2],
        *(RNG.integers(-4, 6, n).tolist() for n in range(6, 13)),
    ],
)
def test_the_permutation_test_exchanges_within_problems(differences: list[int]) -> None:
    first = np.array(differences, np.int64) + 4
    assert sign_flip_p(first, np.full_like(first, 4)) == pytest.approx(flipped(differences))


@pytest.mark.parametrize(("b", "c"), [(7, 1), (5, 0), (3, 3)])
def test_with_one_answer_the_permutation_test_is_mcnemars(b: int, c: int) -> None:
    first, second = pairs(b, c, both=20, neither=4)
    assert sign_flip_p(first, second) == pytest.approx(compare_single(first, second, MARGIN).p)


def test_random_exchanges_approach_the_permutation_test() -> None:
    first, second = RNG.binomial(8, 0.55, 200), RNG.binomial(8, 0.5, 200)
    resampled = stats.permutation_test(
        (first, second),
        lambda x, y, axis: np.sum(x - y, axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=20_000,
        batch=1000,
        rng=np.random.default_rng(1),
    ).pvalue
    p = sign_flip_p(first, second)
    assert p == pytest.approx(resampled, abs=4 * np.sqrt(p * (1 - p) / 20_000) + 1e-4)
    assert p == pytest.approx(stats.ttest_rel(first, second).pvalue, abs=0.03)


def test_a_small_p_is_not_bounded_by_a_number_of_resamples() -> None:
    first, second = pairs(60, 5, both=20)
    assert sign_flip_p(first, second) == pytest.approx(stats.binomtest(5, 65).pvalue, rel=1e-9)
    assert sign_flip_p(np.full(500, 8), np.zeros(500, np.int64)) == pytest.approx(2.0**-499)


def test_what_a_t_test_detects_is_found_in_four_of_five() -> None:
    differences = RNG.integers(-2, 4, 60)
    detectable = detectable_by_t(differences, answers=4)
    assert detectable is not None
    effect = 4 * detectable / differences.std(ddof=1) * np.sqrt(60)
    critical = stats.t.ppf(0.975, 59)
    chance = stats.nct.sf(critical, 59, effect) + stats.nct.cdf(-critical, 59, effect)
    assert chance == pytest.approx(0.8, abs=1e-6)
    assert detectable_by_t(np.full(9, 2), answers=4) is None
    assert detectable_by_t(np.array([4, -4]), answers=4) is None


@pytest.mark.parametrize(("discordant", "n"), [(4, 104), (14, 104), (30, 104), (60, 500), (0, 50)])
def test_what_mcnemars_test_detects_is_found_in_four_of_five(discordant: int, n: int) -> None:
    detectable = detectable_by_mcnemar(discordant, n)
    assert detectable is not None
    net = round(detectable * n)
    assert detectable == net / n

    def found(net: int) -> float:
        """By simulation, at these discordant rates."""
        both = max(discordant, net)
        rates = [(both + net) / 2 / n, (both - net) / 2 / n, 1 - both / n]
        counts = np.random.default_rng(3).multinomial(n, rates, size=20_000)[:, :2]
        p = np.minimum(1, 2 * stats.binom.cdf(counts.min(axis=1), counts.sum(axis=1), 0.5))
        return float(np.mean(p < 0.05))

    assert found(net) > 0.79
    assert found(net - 1) < 0.81


def test_a_study_may_be_too_small_to_detect_anything() -> None:
    assert detectable_by_mcnemar(2, 5) is None
    assert detectable_by_mcnemar(2, 6) == 1.0
    assert [detectable_by_mcnemar(differing, 1) for differing in (0, 1)] == [None, None]
    assert detectable_by_t(np.array([3]), answers=4) is None
    (row,) = contrasts(grades_of({"ps": [1], "greedy": [0]}), ["ps - greedy"], MARGIN)
    assert (row.b, row.c, row.p, row.detectable, row.verdict) == (1, 0, 1.0, None, "within noise")
    assert (row.difference, row.high) == (1.0, 1.0)


@pytest.mark.parametrize("population", coverage.POPULATIONS, ids=lambda population: population.name)
def test_intervals_cover_and_agree_with_their_test(population: coverage.Population) -> None:
    """The table of benchmarks/coverage.py with fewer draws: its margins are of four deviations."""
    draws = 1000 if population.answers == 1 else 250
    found = coverage.measure(population, draws, np.random.default_rng(7))
    margin = 4 * np.sqrt(0.03 * 0.97 / draws)
    assert 0.94 - margin < found.covered < 0.985 + margin
    assert found.contradicted < 0.03 + margin
    assert found.rejected_if_equal < 0.05 + margin


def enumerated(n: int, plus: float, minus: float, quantile: float) -> tuple[float, float]:
    """Exact chances that an interval covers, and that it excludes 0 though p >= .05."""
    covered = contradicted = 0.0
    for b, c in product(range(min(n, 24) + 1), repeat=2):
        chance = float(stats.multinomial.pmf([b, c, n - b - c], n, [plus, minus, 1 - plus - minus]))
        mean, square = (b - c) / (n + 2), (b + c + 2) / (n + 2)
        half = quantile * np.sqrt((square - mean**2) / (n + 2))
        covered += chance * (abs(mean - (plus - minus)) <= half)
        p = 2 * stats.binom.cdf(min(b, c), b + c, 0.5)
        contradicted += chance * (abs(mean) > half and p >= 0.05)
    return covered, contradicted


def test_no_quantile_would_cover_less_often_and_contradict_as_rarely() -> None:
    """Of 104 problems at +1: 3% and -1: 1%, 98.54% of intervals cover, a hair over 98.5%.

    Few problems differ, so the chance goes by steps: with the largest quantile that is not over,
    one in 30 intervals of the population with 30 problems contradicts its test.
    """
    quantile = float(stats.t.ppf(0.975, 105))
    assert enumerated(104, 0.03, 0.01, quantile)[0] == pytest.approx(0.98544, abs=1e-5)
    assert enumerated(104, 0.03, 0.01, 1.95)[0] < 0.985 < enumerated(104, 0.03, 0.01, 1.951)[0]
    assert enumerated(30, 0.1, 0.05, 1.95)[1] > 0.03
    assert enumerated(30, 0.1, 0.05, float(stats.t.ppf(0.975, 31)))[1] < 0.001


def test_several_answers_are_compared_by_problem() -> None:
    ps, greedy = RNG.binomial(1, 0.7, (40, 4)), RNG.binomial(1, 0.5, (40, 4))
    (row,) = contrasts(grades_of({"ps": ps, "greedy": greedy}), ["ps - greedy"], MARGIN)
    assert row.difference == pytest.approx(ps.mean() - greedy.mean())
    assert row.b is row.c is None
    assert row.low < row.difference < row.high
    assert row.p == sign_flip_p(ps.sum(axis=1), greedy.sum(axis=1))


def test_an_interaction_is_a_difference_of_differences() -> None:
    right = {name: RNG.binomial(1, 0.6, 9) for name in ("blend_ps", "ps", "blend_greedy", "greedy")}
    (row,) = contrasts(grades_of(right), CONTRASTS[-1:], MARGIN)
    by_problem = right["blend_ps"] - right["ps"] - (right["blend_greedy"] - right["greedy"])
    assert row.kind == "interaction"
    assert (row.plus, row.minus) == (("blend_ps", "greedy"), ("ps", "blend_greedy"))
    assert row.difference == pytest.approx(by_problem.mean())
    assert row.p == pytest.approx(flipped(by_problem[by_problem != 0].tolist()))
    assert row.b is row.c is None


# All contrasts together


def test_holm_steps_down_over_all_contrasts() -> None:
    right = {
        name: RNG.binomial(1, 0.6, 80) for name in ("greedy", "ps", "blend_greedy", "blend_ps")
    }
    rows = contrasts(grades_of(right), CONTRASTS, MARGIN)
    assert [row.name for row in rows] == [
        c for c in CONTRASTS if "draft" not in c and "base" not in c and "temp" not in c
    ]
    running = 0.0
    for rank, row in enumerate(sorted(rows, key=lambda row: row.p)):
        running = max(running, min(1.0, (len(rows) - rank) * row.p))
        assert row.p_holm == pytest.approx(running)


@pytest.mark.parametrize(
    ("p", "word"), [(0.049, "significant"), (0.05, "suggestive"), (0.1, "within noise")]
)
def test_a_verdict_is_chosen_by_p(p: float, word: str) -> None:
    assert verdict(p) == word


def test_what_is_small_for_certain_is_equivalent() -> None:
    assert verdict(0.2, 0.04) == "equivalent"
    assert verdict(0.06, 0.04) == "equivalent"
    assert verdict(0.04, 0.04) == "significant"
    assert verdict(0.2, 0.05) == "within noise"


@pytest.mark.parametrize("answers", [1, 8])
@pytest.mark.parametrize("rates", [(0.0, 0.0), (0.02, 0.01), (0.01, 0.06), (0.2, 0.2)])
def test_equivalence_is_what_two_one_sided_tests_say(
    rates: tuple[float, float], answers: int
) -> None:
    """Those of scipy, whose variance has n - 1 where the interval's has n."""
    chances = [rates[0], rates[1], 1 - sum(rates)]
    differences = RNG.choice([1.0, -1.0, 0.0], 400, p=chances) / answers
    scale = np.sqrt((answers + 1) / 2) / answers
    more = np.append(differences, [scale, -scale])
    n = len(more)
    sides = [
        stats.ttest_1samp(more, bound).statistic * np.sqrt(n / (n - 1)) for bound in (-0.03, 0.03)
    ]
    expected = max(stats.t.sf(sides[0], n - 1), stats.t.cdf(sides[1], n - 1))
    assert equivalence_p(differences, answers, 0.03) == pytest.approx(expected)


def test_equivalence_is_within_the_narrower_interval() -> None:
    """A nominal 95% interval within the margin is more than is asked for."""
    differences = RNG.choice([1.0, -1.0, 0.0], 600, p=[0.04, 0.04, 0.92])
    low, high = difference_interval(differences, 1)
    widest = max(-low, high)
    assert equivalence_p(differences, 1, widest) == pytest.approx(0.025)
    assert equivalence_p(differences, 1, 0.5 * widest) > 0.05


def test_contrasts_of_equal_conditions_are_equivalent_if_there_are_enough_problems() -> None:
    alike = {"ps": [1, 0] * 300, "greedy": [1, 0] * 300}
    (row,) = contrasts(grades_of(alike), ["ps - greedy"], MARGIN)
    assert (row.verdict, row.margin) == ("equivalent", MARGIN)
    few = {name: right[:20] for name, right in alike.items()}
    (row,) = contrasts(grades_of(few), ["ps - greedy"], MARGIN)
    assert row.verdict == "within noise"


def test_no_difference_is_within_noise() -> None:
    (row,) = contrasts(grades_of({"ps": [1, 0, 1], "greedy": [1, 0, 1]}), ["ps - greedy"], MARGIN)
    assert (row.b, row.c, row.p, row.detectable) == (0, 0, 1.0, None)
    assert row.low == pytest.approx(-row.high)
    assert row.verdict == "within noise"


def test_no_difference_in_several_samples_has_an_interval() -> None:
    """No variation is seen, and few problems: that is no proof that there is none."""
    result = compare_clustered(np.array([2, 3]), np.array([2, 3]), 4, MARGIN)
    assert (result.difference, result.p, result.detectable) == (0.0, 1.0, None)
    assert result.high == -result.low > 0.3


# Breakdowns


def test_easy_is_what_greedy_solves() -> None:
    table = difficulty(
        grades_of({"greedy": [1, 1, 0, 0, 0], "ps": [1, 0, 1, 0, 0]}), reference="greedy"
    )
    assert table is not None
    assert (table.easy, table.hard) == (2, 3)
    assert table.rows[1] == ConditionDifficulty(
        condition="ps",
        easy_correct=1,
        easy_total=2,
        easy_accuracy=1 / 2,
        hard_correct=1,
        hard_total=3,
        hard_accuracy=1 / 3,
    )


def test_without_greedy_there_is_no_easy() -> None:
    assert difficulty(grades_of({"ps": [1, 0]}), reference="greedy") is None
    assert summary_of(grades_of({"ps": [1, 0], "blend_greedy": [1, 0]})).difficulty is None


def test_easy_is_what_the_first_deterministic_condition_without_a_blend_solves() -> None:
    conditions = {
        "other": {"sampler": "greedy", "blend": "layer"},
        "argmax": {"sampler": "greedy", "max_new_tokens": 8},
    }
    use = ["temp", "other", "argmax"]
    samplers = study(conditions=conditions, use=use, probe={"enabled": False}).samplers()
    grades = grades_of({"temp": [0, 0, 0], "other": [0, 0, 0], "argmax": [1, 0, 0]})
    table = summarise(grades, samplers).difficulty
    assert table is not None
    assert (table.reference, table.easy, table.hard) == ("argmax", 1, 2)


def test_levels_and_subjects_add_up() -> None:
    grades = grades_of({"greedy": [1, 0, 1, 1], "ps": [0, 0, 1, 1]})
    grades["level"] = [1, 2, 2, None] * 2
    grades["subject"] = ["Algebra", "Geometry", "Geometry", ""] * 2
    summary = summary_of(grades)
    assert [(r.condition, r.level, r.correct, r.total) for r in summary.levels] == [
        ("greedy", 1, 1, 1),
        ("greedy", 2, 1, 2),
        ("ps", 1, 0, 1),
        ("ps", 2, 1, 2),
    ]
    assert [(r.subject, r.accuracy) for r in summary.subjects][2:] == [
        ("Algebra", 0.0),
        ("Geometry", 0.5),
    ]


def test_overlaps_name_the_problems() -> None:
    rows = overlaps(grades_of({"greedy": [1, 1, 0, 0], "ps": [1, 0, 1, 0], "temp": [0, 0, 0, 0]}))
    assert [(row.a, row.b) for row in rows] == [*combinations(("greedy", "ps", "temp"), 2)]
    assert [rows[0].both, rows[0].only_a, rows[0].only_b, rows[0].neither] == [1, 1, 1, 1]
    assert (rows[0].only_a_ids, rows[0].only_b_ids) == (("p/1",), ("p/2",))


def test_answers_to_look_at_are_listed() -> None:
    grades = pd.DataFrame(
        [
            answer(problem_id="a", correct=True, second=False),
            answer(problem_id="b", correct=False, second=None, reason="took longer than 20 s"),
            answer(problem_id="c", correct=False, second=False, answer=None, reason="no answer"),
        ]
    ).assign(condition="greedy")
    summary = summary_of(grades)
    assert [row.problem_id for row in summary.disagreements] == ["a"]
    assert summary.disagreements[0].second is False
    assert [row.reason for row in summary.ungraded] == ["took longer than 20 s"]


def test_chains_are_averaged_over_those_that_reached_a_block() -> None:
    moved = {"moves": 4, "accepted_by_block": [2, 1], "log_t_by_block": [-4.0, -6.0]}
    ended = {"moves": 2, "accepted_by_block": [0], "log_t_by_block": [-2.0]}
    rows = [answer(problem_id="a", **moved), answer(problem_id="b", n_tokens=20, **ended)]
    (row,) = summary_of(pd.DataFrame(rows).assign(condition="ps")).chains
    assert row.acceptance_by_block == (0.5, 0.5)
    # 1024 tokens in 16 blocks: after the first, 64 of the 100 tokens and all of the 20.
    assert row.log_t_per_token_by_block == pytest.approx((-6 / 84, -6 / 100))


def test_a_chain_whose_every_token_is_alike_goes_neither_up_nor_down() -> None:
    """Its log target falls by block, for its strings grow; per token nothing changes."""
    log_t = [-32.0, -64.0, -96.0, -100.0, -100.0]
    row = answer(problem_id="a", n_tokens=200, moves=10, accepted_by_block=[2] * 5)
    row["log_t_by_block"] = log_t
    (chain,) = summary_of(pd.DataFrame([row]).assign(condition="ps")).chains
    assert chain.log_t_per_token_by_block == (-0.5, -0.5, -0.5, -0.5, -0.5)


# Several samples


@pytest.mark.parametrize("k", [1, 2, 3, 5])
def test_values_at_k_are_means_over_all_choices(k: int) -> None:
    n = 5
    correct = RNG.binomial(1, 0.4, (12, n)).astype(float)
    log_p = RNG.normal(size=(12, n))
    chosen = [list(subset) for subset in combinations(range(n), k)]
    assert len(chosen) == comb(n, k)
    passed = np.mean([correct[:, subset].max(axis=1).mean() for subset in chosen])
    assert pass_at(correct, k) == pytest.approx(passed)
    best = [
        correct[i, subset[int(np.argmax(log_p[i, subset]))]] for i in range(12) for subset in chosen
    ]
    assert best_of(log_p, correct, k) == pytest.approx(np.mean(best))


def test_the_majority_wins_and_a_tie_is_shared() -> None:
    spelled = np.array([["1", "1", "2"], ["3", "4", None], [None, None, None]], dtype=object)
    correct = np.array([[1, 1, 0], [1, 0, 0], [0, 0, 0]], dtype=float)
    assert majority_at(spelled, correct, 3) == pytest.approx((1 + 1 / 2 + 0) / 3)
    assert majority_at(spelled, correct, 1) == pytest.approx(correct.mean())
    # Of two: {1, 1} wins, {1, 2} is a tie; {3, 4} is a tie, 3 or 4 alone wins.
    two = [(1 + 0.5 + 0.5) / 3, (0.5 + 1 + 0) / 3, 0]
    assert majority_at(spelled, correct, 2) == pytest.approx(np.mean(two))


def test_votes_among_random_choices_are_close_to_all() -> None:
    n, k, accuracy = 20, 9, 0.65
    correct = RNG.random((60, n)) < accuracy
    spelled = np.where(correct, "right", "wrong").astype(object)
    chance = [stats.hypergeom.sf(k // 2, n, c, k) for c in correct.sum(axis=1)]
    assert majority_at(spelled, correct.astype(float), k) == pytest.approx(
        np.mean(chance), abs=0.01
    )


def test_equal_answers_may_be_spelled_differently() -> None:
    grades = grades_of({"temp": [[1, 1, 0, 0, 0]]})
    grades["answer"] = [r"\frac12", r"\dfrac{1}{2}", "3", "4", "5"]
    assert several_samples(grades)[0].majority_at[-1] == ValueAtK(k=5, value=1.0)


def test_mean_and_standard_error_are_across_samples() -> None:
    correct = RNG.binomial(1, 0.5, (30, 4))
    (row,) = several_samples(grades_of({"temp": correct}))
    means = correct.mean(axis=0)
    assert row.mean == pytest.approx(correct.mean())
    assert row.se == pytest.approx(means.std(ddof=1) / 2)


def test_one_sample_is_no_sampling() -> None:
    assert summary_of(grades_of({"temp": [1, 0]})).sampling == ()


def test_every_k_that_may_match_another_condition_is_there() -> None:
    assert choices(3) == [1, 2, 3]
    assert choices(40) == [*range(1, 17), 32, 40]


def test_compute_counts_what_k_answers_cost() -> None:
    grades = grades_of({"greedy": [[1, 1], [0, 0]], "temp": [[1, 0], [0, 1]]}, decoded_tokens=50)
    rows = {row.label: row for row in summary_of(grades).compute}
    assert [*rows] == ["greedy", "temp", "temp, majority of 2", "temp, best of 2"]
    assert rows["temp"].decoded_tokens == 50
    assert rows["temp, best of 2"].decoded_tokens == 100
    assert rows["temp, best of 2"].method == "best_of"


@pytest.mark.parametrize(
    ("tokens", "bought", "k"),
    [(100, 1, 1), (197, 1.97, 1.97), (399, 3.99, 3.99), (425, 4.25, 4.25), (1000, 10, 5)],
)
def test_a_chain_is_matched_by_the_votes_that_it_would_buy(
    tokens: int, bought: float, k: float
) -> None:
    right = {name: RNG.binomial(1, 0.6, (30, 5)) for name in ("ps", "temp")}
    grades = grades_of(right)
    grades["answer"] = grades["correct"].map({True: "1", False: "2"})
    grades.loc[grades["condition"] == "ps", "decoded_tokens"] = tokens
    rows = [row for row in summary_of(grades).matched if row.cost == "tokens"]
    row, best = rows
    assert (row.choice, best.choice) == ("majority", "best_of")

    def majority(k: int, verdicts: list[int]) -> float:
        chosen = [sum(some) for some in combinations(verdicts, k)]
        return float(np.mean([2 * n > k or (2 * n == k) / 2 for n in chosen]))

    below, above = int(k), int(np.ceil(k))
    votes = np.array(
        [
            (1 - k + below) * majority(below, n) + (k - below) * majority(above, n)
            for n in right["temp"].tolist()
        ]
    )
    differences = right["ps"].mean(axis=1) - votes
    assert (row.chain, row.sampling) == ("ps", "temp")
    assert (row.bought, row.k) == pytest.approx((bought, k))
    assert row.chosen == pytest.approx(votes.mean())
    assert row.difference == pytest.approx(differences.mean())
    assert (row.low, row.high) == pytest.approx(difference_interval(differences, 5))


def test_a_chain_is_matched_by_the_best_of_the_samples_that_it_would_buy() -> None:
    right = {name: RNG.binomial(1, 0.6, (30, 4)) for name in ("ps", "temp")}
    grades = grades_of(right)
    grades["log_p"] = RNG.normal(size=len(grades))
    chain = grades["condition"] == "ps"
    grades.loc[chain, ["decoded_tokens", "seconds"]] = 250, 3.0  # of temp, 100 and 2
    log_p = grades.loc[~chain, "log_p"].to_numpy().reshape(30, 4)

    def best(k: int) -> list[float]:
        """Of every choice of k."""
        subsets = [list(some) for some in combinations(range(4), k)]
        return [
            float(np.mean([verdicts[some][values[some].argmax()] for some in subsets]))
            for verdicts, values in zip(right["temp"], log_p, strict=True)
        ]

    rows = {(row.cost, row.choice): row for row in summary_of(grades).matched}
    assert len(rows) == 4
    for cost, bought, few, many in (("tokens", 2.5, 2, 3), ("seconds", 1.5, 1, 2)):
        row = rows[cost, "best_of"]
        assert (row.bought, row.k) == (bought, bought)
        expected = (np.array(best(few)) + np.array(best(many))) / 2
        assert row.chosen == pytest.approx(expected.mean())
        differences = right["ps"].mean(axis=1) - expected
        assert (row.low, row.high) == pytest.approx(difference_interval(differences, 4))
        assert rows[cost, "majority"].bought == bought


def test_what_took_no_time_buys_nothing() -> None:
    grades = grades_of({"ps": [[1, 0]], "temp": [[1, 0]]}, seconds=0.0)
    assert {row.cost for row in summary_of(grades).matched} == {"tokens"}


def test_a_vote_that_costs_more_than_the_chain_does_not_match_it() -> None:
    grades = grades_of({"ps": [[1, 0]], "temp": [[1, 0]]})
    grades.loc[grades["condition"] == "ps", ["decoded_tokens", "seconds"]] = 99, 1.9
    assert summary_of(grades).matched == ()
    assert summary_of(grades_of({"ps": [1, 0], "temp": [1, 0]})).matched == ()
    assert summarise(grades, {}).matched == ()


def test_any_chain_is_matched_with_any_plain_sampling() -> None:
    """What runs a chain and what always answers the same is said by a description, not a name."""
    right = {name: [[1, 0], [0, 1]] for name in ("chain", "plain", "argmax", "blended")}
    samplers = study(use=["ps", "temp", "greedy", "blend_greedy"], probe={"enabled": False})
    described = [condition_of(sampler) for sampler in samplers.samplers().values()]
    roles = [how.description.model_copy(update={"role": "other"}) for how in described]
    conditions = {
        name: how.model_copy(update={"sampler": "other", "description": description})
        for name, how, description in zip(right, described, roles, strict=True)
    }
    pairs = {(row.chain, row.sampling) for row in matched(grades_of(right), conditions)}
    assert pairs == {("chain", "plain")}


def test_a_sweep_is_three_settings_of_the_blend() -> None:
    conditions = {
        f"b{i}": {"sampler": "power", "alpha": 2.0, "blend": {"layer": 3, "beta": i / 10}}
        for i in range(3)
    }
    names = [*conditions]
    swept = study(conditions=conditions, use=names).samplers()
    rows = summarise(grades_of({name: [1, 0] for name in names}), swept).sweep
    assert [(row.alpha, row.beta, row.layer) for row in rows] == [
        (2.0, 0.0, 3),
        (2.0, 0.1, 3),
        (2.0, 0.2, 3),
    ]
    assert all(row.low < row.accuracy == 0.5 < row.high for row in rows)
    assert summary_of(grades_of({"ps": [1], "blend_ps": [0]})).sweep == ()
    # Three settings, but of three samplers and sources: nothing is swept.
    assert summary_of(grades_of({name: [1] for name in BASE["use"]})).sweep == ()


# Edges of a whole study


@pytest.mark.parametrize("samples", [1, 3])
@pytest.mark.parametrize("problems", [1, 4])
@pytest.mark.parametrize("right", [0, 1])
def test_any_study_has_a_summary(samples: int, problems: int, right: int) -> None:
    verdicts = np.full((problems, samples), right)
    summary = summary_of(grades_of({name: verdicts for name in BASE["use"]}))
    assert len(summary.contrasts) == len(BASE["contrasts"]) == 9
    assert {row.p_holm for row in summary.contrasts} == {1.0}
    assert all(row.accuracy == right for row in summary.overall)
    assert summary.difficulty is not None
    assert summary.difficulty.rows[0].hard_accuracy == (None if right else 0.0)


def test_one_problem_is_not_enough_to_tell() -> None:
    for ps in ([1], [[1, 1, 1]]):
        greedy = np.zeros_like(ps)
        (row,) = summary_of(grades_of({"greedy": greedy, "ps": ps})).contrasts
        assert (row.difference, row.p) == (1.0, 1.0)


def test_contrasts_of_conditions_that_did_not_run_are_passed_over() -> None:
    summary = summary_of(grades_of({"greedy": [1, 0], "ps": [1, 1]}))
    assert [row.name for row in summary.contrasts] == ["ps - greedy"]
    assert summary_of(grades_of({"ps": [1, 1]})).contrasts == ()


def test_unequal_problem_sets_are_named(tmp_path: Path) -> None:
    grades = grades_of({"greedy": [1, 0, 1], "ps": [1, 0]})
    for condition, rows in grades.groupby("condition"):
        write_jsonl(tmp_path / f"{condition}.jsonl", rows.to_dict("records"))
    files = {name: [tmp_path / f"{name}.jsonl"] for name in ("greedy", "ps")}
    message = r"greedy and ps did not answer the same problems: they differ in \[\('p/2', 0\)\]"
    with pytest.raises(ValueError, match=message):
        read_grades(files)
    with pytest.raises(ValueError, match=message):
        summarise(grades, {})


def test_answers_of_several_seeds_are_numbered_through(tmp_path: Path) -> None:
    files: dict[str, list[Path]] = {"greedy": [], "ps": []}
    rights = {42: [[1, 0], [1, 1]], 7: [[0, 0], [1, 0]]}
    for (name, paths), seed in product(files.items(), rights):
        grades = grades_of({name: rights[seed]}, seed=seed)
        rows = [{**row, "rule": None} for row in grades.to_dict("records")]
        paths.append(tmp_path / f"{name}-{seed}.jsonl")
        write_jsonl(paths[-1], rows)
    grades = read_grades(files)
    of_first = grades[(grades["condition"] == "ps") & (grades["problem_id"] == "p/0")]
    found = zip(of_first["seed"], of_first["sample"], of_first["correct"], strict=True)
    assert [*found] == [(42, 0, True), (42, 1, False), (7, 2, False), (7, 3, False)]
    summary = summary_of(grades, ["ps - greedy"])
    assert summary.samples == 4
    assert [s.pass_at[-1].value for s in summary.sampling] == [1.0, 1.0]
    by_seed = [(row.condition, row.seed, row.correct, row.total) for row in summary.seeds]
    assert by_seed == [(name, s, *n) for name in files for s, n in ((42, (3, 4)), (7, (1, 4)))]
    assert summary_of(read_grades({"ps": files["ps"][1:]})).seeds == ()
    with pytest.raises(ValueError, match="greedy and ps did not answer the same problems"):
        read_grades({"greedy": files["greedy"], "ps": files["ps"][:1]})


def test_an_answer_that_is_there_twice_is_named() -> None:
    grades = grades_of({"greedy": [1, 0]})
    with pytest.raises(ValueError, match=r"there twice: \[\('greedy', 'p/0', 0\)\]"):
        summarise(pd.concat([grades, grades.head(1)]), {})


# Their declaration


def test_contrasts_are_read() -> None:
    assert parse_contrast("a-b") == ("a - b", ("a",), ("b",))
    double = parse_contrast(" ( a - b ) - (c - d)")
    assert double == ("(a - b) - (c - d)", ("a", "d"), ("b", "c"))


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("ps", "contrasts.0: 'ps' is not a contrast; write A - B or (A - B) - (C - D)"),
        ("ps - greedy - temp", "is not a contrast"),
        ("ps + greedy", "is not a contrast"),
        ("(ps - greedy) - temp", "is not a contrast"),
        ("ps - ps", "contrasts.0: 'ps - ps' names ps twice; compare different conditions"),
        (
            "ps - pss",
            "contrasts: 'ps - pss' names 'pss', which is no condition; use greedy, base, temp",
        ),
    ],
)
def test_a_contrast_that_cannot_be_made_is_named(text: str, sentence: str) -> None:
    with pytest.raises(ConfigError) as error:
        study(contrasts=[text])
    assert sentence in str(error.value)


def test_a_contrast_counts_once() -> None:
    with pytest.raises(ConfigError, match="contrasts: 'ps - temp' is listed twice"):
        study(contrasts=["ps - temp", "ps-temp"])


def test_the_default_contrasts_are_those_of_the_configuration() -> None:
    assert tuple(BASE["contrasts"]) == CONTRASTS
    without = {key: value for key, value in BASE.items() if key != "contrasts"}
    assert parse_study(without).contrasts == list(CONTRASTS)
    assert study(use=["temp"]).contrasts == list(CONTRASTS)
