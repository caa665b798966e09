"""The overall table: every condition's accuracy, and beside it what it cost and what went amiss."""

from typing import TypedDict

import pandas as pd
from statsmodels.stats.proportion import proportion_confint

from powerblend.vocabulary.summary import ConditionResult

CONFIDENCE = 0.95


class Accuracy(TypedDict):
    """Right answers, and their share with its interval."""

    correct: int
    total: int
    accuracy: float
    low: float
    high: float


class SecondOpinion(TypedDict):
    """The second grader's right answers, and on how many it differs from the first."""

    second_correct: int | None
    second_accuracy: float | None
    disagreements: int


class Cost(TypedDict):
    """Means per answer."""

    tokens: float
    decoded_tokens: float
    seconds: float


class MoveShares(TypedDict):
    """Shares of the moves."""

    acceptance: float | None
    unchanged: float | None
    early_rejected: float | None


def overall(grades: pd.DataFrame) -> list[ConditionResult]:
    """Every condition's result, in the order in which they come."""
    return [
        ConditionResult(
            condition=str(condition),
            **accuracy(answers),
            **_second_opinion(answers),
            **_cost(answers),
            **_move_shares(answers),
            truncated=float((answers["finish"] == "length").mean()),
            unboxed=float(answers["answer"].isna().mean()),
        )
        for condition, answers in grades.groupby("condition", sort=False)
    ]


def accuracy(answers: pd.DataFrame) -> Accuracy:
    """``correct`` of ``total`` answers, and the accuracy with its Wilson score interval.

    The interval is Wilson's (JASA 22, 1927). Several answers to one problem are not independent:
    it counts problems rather than answers, which is exact for one answer per problem, and errs on
    the wide side for several.
    """
    correct, total = int(answers["correct"].sum()), len(answers)
    low, high = wilson(correct / total, answers["problem_id"].nunique())
    return {
        "correct": correct,
        "total": total,
        "accuracy": correct / total,
        "low": low,
        "high": high,
    }


def wilson(share: float, problems: int) -> tuple[float, float]:
    """Wilson's score interval of a share of problems."""
    low, high = proportion_confint(
        share * problems, problems, alpha=1 - CONFIDENCE, method="wilson"
    )
    # Rounding leaves 5.6e-17 of 0 of n.
    return float(low) if share > 0 else 0.0, float(high) if share < 1 else 1.0


def disagreeing(grades: pd.DataFrame) -> pd.Series:
    """Whether both graders have a verdict on an answer and differ."""
    return grades["second"].notna() & (grades["second"] != grades["correct"])


def _second_opinion(answers: pd.DataFrame) -> SecondOpinion:
    asked = bool(answers["second"].notna().any())
    correct = int(answers["second"].eq(True).sum())
    return {
        "second_correct": correct if asked else None,
        "second_accuracy": correct / len(answers) if asked else None,
        "disagreements": int(disagreeing(answers).sum()),
    }


def _cost(answers: pd.DataFrame) -> Cost:
    return {
        "tokens": float(answers["n_tokens"].mean()),
        "decoded_tokens": float(answers["decoded_tokens"].mean()),
        "seconds": float(answers["seconds"].mean()),
    }


def _move_shares(answers: pd.DataFrame) -> MoveShares:
    moves = int(answers["moves"].sum())

    def share(column: str) -> float | None:
        return int(answers[column].sum()) / moves if moves else None

    return {
        "acceptance": share("accepted"),
        "unchanged": share("unchanged"),
        "early_rejected": share("early_rejected"),
    }
