"""The overall table: every condition's accuracy, and beside it what it cost and what went amiss."""

import pandas as pd
from statsmodels.stats.proportion import proportion_confint

CONFIDENCE = 0.95


def overall(grades: pd.DataFrame) -> pd.DataFrame:
    """One row per condition, in the order in which they come.

    ``accuracy`` has its Wilson interval in ``low`` and ``high``; ``tokens``, ``decoded_tokens`` and
    ``seconds`` are means per answer; ``acceptance`` is accepted over proposed moves, missing where
    there are none; ``truncated`` and ``unboxed`` are shares of the answers. All shares are in
    [0, 1].
    """
    rows = [
        {"condition": condition, **_row(answers)}
        for condition, answers in grades.groupby("condition", sort=False)
    ]
    return pd.DataFrame(rows)


def _row(answers: pd.DataFrame) -> dict[str, float | int | None]:
    correct, total = int(answers["correct"].sum()), len(answers)
    low, high = proportion_confint(correct, total, alpha=1 - CONFIDENCE, method="wilson")
    moves = int(answers["moves"].sum())
    return {
        "correct": correct,
        "total": total,
        "accuracy": correct / total,
        "low": float(low),
        "high": float(high),
        "tokens": float(answers["n_tokens"].mean()),
        "decoded_tokens": float(answers["decoded_tokens"].mean()),
        "seconds": float(answers["seconds"].mean()),
        "acceptance": int(answers["accepted"].sum()) / moves if moves else None,
        "truncated": float((answers["finish"] == "length").mean()),
        "unboxed": float(answers["answer"].isna().mean()),
    }
