"""Accuracy by what a problem is: its level and its subject."""

from typing import Any

import pandas as pd

from powerblend.analysis.overall import accuracy


def levels(grades: pd.DataFrame) -> list[dict[str, Any]]:
    """Accuracy by condition and level; problems without a level are left out."""
    levelled = grades[grades["level"].notna()]
    return _by(levelled.assign(level=levelled["level"].astype(int)), "level")


def subjects(grades: pd.DataFrame) -> list[dict[str, Any]]:
    """Accuracy by condition and subject; problems without a subject are left out."""
    return _by(grades[grades["subject"].fillna("") != ""], "subject")


def _by(grades: pd.DataFrame, column: str) -> list[dict[str, Any]]:
    return [
        {"condition": condition, column: value, **accuracy(rows)}
        for condition, answers in grades.groupby("condition", sort=False)
        for value, rows in answers.groupby(column)
    ]
