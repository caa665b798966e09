"""Accuracy by what a problem is, its level and its subject, and by the seed of the answers."""

import pandas as pd

from powerblend.analysis.overall import accuracy
from powerblend.vocabulary.summary import LevelAccuracy, SeedAccuracy, SubjectAccuracy


def levels(grades: pd.DataFrame) -> list[LevelAccuracy]:
    """Accuracy by condition and level; problems without a level are left out."""
    levelled = grades[grades["level"].notna()]
    return [
        LevelAccuracy(condition=str(condition), level=int(level), **accuracy(answers))
        for condition, of_condition in levelled.groupby("condition", sort=False)
        for level, answers in of_condition.groupby(of_condition["level"].astype(int))
    ]


def subjects(grades: pd.DataFrame) -> list[SubjectAccuracy]:
    """Accuracy by condition and subject; problems without a subject are left out."""
    with_subject = grades[grades["subject"].fillna("") != ""]
    return [
        SubjectAccuracy(condition=str(condition), subject=str(subject), **accuracy(answers))
        for condition, of_condition in with_subject.groupby("condition", sort=False)
        for subject, answers in of_condition.groupby("subject")
    ]


def seeds(grades: pd.DataFrame) -> list[SeedAccuracy]:
    """Accuracy by condition and seed; nothing where all answers are of one."""
    if "seed" not in grades or grades["seed"].nunique() < 2:
        return []
    return [
        SeedAccuracy(condition=str(condition), seed=int(str(seed)), **accuracy(answers))
        for condition, of_condition in grades.groupby("condition", sort=False)
        for seed, answers in of_condition.groupby("seed", sort=False)
    ]
