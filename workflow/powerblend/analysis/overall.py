"""The overall table: every condition's accuracy, and beside it what it cost and what went amiss."""

from typing import Any

import pandas as pd
from statsmodels.stats.proportion import proportion_confint

CONFIDENCE = 0.95


def overall(grades: pd.DataFrame) -> pd.DataFrame:
    """One row per condition, in the order in which they come.

    ``accuracy`` has its interval in ``low`` and ``high`` (see `accuracy`). ``second_correct`` and
    ``second_accuracy`` are the second grader's, over the same answers; ``disagreements`` counts the
    answers on which both have a verdict and differ. ``tokens``, ``decoded_tokens`` and ``seconds``
    are means per answer; ``acceptance``, ``unchanged`` and ``early_rejected`` are shares of the
    moves, missing where there are none; ``truncated`` and ``unboxed`` are shares of the answers.
    All shares are in [0, 1].
    """
    rows = [
        {
            "condition": condition,
            **accuracy(answers),
            **_second(answers),
            **_cost(answers),
            **_moves(answers),
            "truncated": float((answers["finish"] == "length").mean()),
            "unboxed": float(answers["answer"].isna().mean()),
        }
        for condition, answers in grades.groupby("condition", sort=False)
    ]
    return pd.DataFrame(rows)


def accuracy(answers: pd.DataFrame) -> dict[str, Any]:
    """``correct`` of ``total`` answers, and the accuracy with its Wilson score interval.

    The interval is Wilson's (JASA 22, 1927). Several answers to one problem are not independent:
    it counts problems rather than answers, which is exact for one answer per problem, and errs on
    the wide side for several.
    """
    correct, total = int(answers["correct"].sum()), len(answers)
    problems = answers["problem_id"].nunique()
    low, high = proportion_confint(
        correct / total * problems, problems, alpha=1 - CONFIDENCE, method="wilson"
    )
    return {
        "correct": correct,
        "total": total,
        "accuracy": correct / total,
        # Rounding leaves 5.6e-17 of 0 of n.
        "low": float(low) if correct else 0.0,
        "high": float(high) if correct < total else 1.0,
    }


def disagreeing(grades: pd.DataFrame) -> pd.Series:
    """Whether both graders have a verdict on an answer and differ."""
    return grades["second"].notna() & (grades["second"] != grades["correct"])


def _second(answers: pd.DataFrame) -> dict[str, Any]:
    asked = bool(answers["second"].notna().any())
    correct = int(answers["second"].eq(True).sum())
    return {
        "second_correct": correct if asked else None,
        "second_accuracy": correct / len(answers) if asked else None,
        "disagreements": int(disagreeing(answers).sum()),
    }


def _cost(answers: pd.DataFrame) -> dict[str, float]:
    return {
        "tokens": float(answers["n_tokens"].mean()),
        "decoded_tokens": float(answers["decoded_tokens"].mean()),
        "seconds": float(answers["seconds"].mean()),
    }


def _moves(answers: pd.DataFrame) -> dict[str, float | None]:
    moves = int(answers["moves"].sum())
    counts = {
        "acceptance": "accepted",
        "unchanged": "unchanged",
        "early_rejected": "early_rejected",
    }
    return {
        name: int(answers[column].sum()) / moves if moves else None
        for name, column in counts.items()
    }
