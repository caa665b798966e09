"""Answers for a person to look at: where the graders differ, and where they came to no verdict."""

from typing import Any

import pandas as pd

from powerblend.analysis.overall import disagreeing

MOST = 50
"""Answers listed; the overall table counts them all."""


def disagreements(grades: pd.DataFrame) -> list[dict[str, Any]]:
    """Answers on which both graders have a verdict and differ."""
    columns = ["condition", "problem_id", "sample", "answer", "gold", "correct", "second"]
    return records(grades.loc[disagreeing(grades), columns].head(MOST))


def ungraded(grades: pd.DataFrame) -> list[dict[str, Any]]:
    """Answers on which a grader has no verdict, with the reason; there being none is no reason."""
    chosen = grades["reason"].notna() & (grades["reason"] != "no answer")
    columns = ["condition", "problem_id", "sample", "reason"]
    return records(grades.loc[chosen, columns].head(MOST))


def records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """A table's rows as plain values, with None where a value is missing."""
    rows = frame.astype(object).where(frame.notna(), None).to_dict("records")
    return [{str(column): value for column, value in row.items()} for row in rows]
