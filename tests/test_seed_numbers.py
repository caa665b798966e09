"""The tables of the published pilot study, to the digit, from answers with its counts.

104 problems, of which greedy decoding solves 74 (easy) and not 30 (hard).
"""

import pytest

from powerblend.analysis.summary import summarise
from powerblend.study.contrasts import CONTRASTS
from powerblend.vocabulary.summary import Summary
from test_statistics import grades_of, study

EASY, HARD = 74, 30

SOLVED = {
    "greedy": (74, 0),
    "temp": (72, 1),
    "ps": (70, 5),
    "blend_greedy": (68, 3),
    "blend_ps": (73, 8),
}
"""Easy and hard problems that each condition solves."""


def verdicts(easy: int, hard: int) -> list[int]:
    """The first ``easy`` of the easy problems and the first ``hard`` of the hard ones."""
    return [1] * easy + [0] * (EASY - easy) + [1] * hard + [0] * (HARD - hard)


@pytest.fixture(scope="module")
def summary() -> Summary:
    right = {condition: verdicts(*counts) for condition, counts in SOLVED.items()}
    # Of the problems that power sampling solves, the guided one misses one.
    right["blend_ps"][0], right["blend_ps"][EASY - 1] = 0, 1
    return summarise(grades_of(right), study().samplers(), CONTRASTS)


def percent(share: float) -> str:
    return f"{100 * share:.1f}"


def test_overall_accuracy(summary: Summary) -> None:
    assert [(row.condition, row.correct, row.total) for row in summary.overall] == [
        ("greedy", 74, 104),
        ("temp", 73, 104),
        ("ps", 75, 104),
        ("blend_greedy", 71, 104),
        ("blend_ps", 81, 104),
    ]
    shown = [percent(row.accuracy) for row in summary.overall]
    assert shown == ["71.2", "70.2", "72.1", "68.3", "77.9"]


def test_difficulty(summary: Summary) -> None:
    table = summary.difficulty
    assert table is not None
    assert (table.easy, table.hard) == (EASY, HARD)
    assert [(row.easy_correct, row.hard_correct) for row in table.rows] == [*SOLVED.values()]
    easy = [percent(row.easy_accuracy) for row in table.rows]
    hard = [percent(row.hard_accuracy) for row in table.rows]
    assert easy == ["100.0", "97.3", "94.6", "91.9", "98.6"]
    assert hard == ["0.0", "3.3", "16.7", "10.0", "26.7"]


def test_overlap(summary: Summary) -> None:
    (row,) = [row for row in summary.overlaps if (row.a, row.b) == ("ps", "blend_ps")]
    assert [row.both, row.only_a, row.only_b, row.neither] == [74, 1, 7, 22]
    assert (len(row.only_a_ids), len(row.only_b_ids)) == (1, 7)


def test_contrast(summary: Summary) -> None:
    row = next(row for row in summary.contrasts if row.name == "blend_ps - ps")
    assert (row.b, row.c) == (7, 1)
    assert percent(row.difference) == "5.8"
    assert f"{row.p:.4f}" == "0.0703"
    assert row.low is not None
    assert row.high is not None
    assert row.low < 0 < row.high
    assert row.verdict == "within noise"


def test_interaction(summary: Summary) -> None:
    (row,) = [row for row in summary.contrasts if row.kind == "interaction"]
    assert percent(row.difference) == percent((81 - 75 - (71 - 74)) / 104)
