"""The grade of every answer of a study, as one table, and the shapes that statistics take it in."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from powerblend.study.record_files import read_records
from powerblend.vocabulary.records import GradeRecord


def read_grades(files: Mapping[str, Sequence[Path]]) -> pd.DataFrame:
    """One row per answer, from the grade files of each condition; ``condition`` is a column.

    Where there are several seeds, ``sample`` numbers the answers to a problem through them all:
    answers of two seeds are as independent as two of one seed. ``seed`` tells which is whose.

    Raises
    ------
    DamagedFile
        If a line is not a whole grade.
    ValueError
        If conditions did not answer the same problems the same number of times.
    """
    grades = pd.DataFrame(
        [
            {**record.model_dump(), "condition": condition}
            for condition, paths in files.items()
            for path in paths
            for _, record in read_records(path, GradeRecord)
        ]
    )
    grades["sample"] += _earlier_samples(grades)
    check_paired(grades)
    return grades


def _earlier_samples(grades: pd.DataFrame) -> pd.Series:
    """How many answers to the same problem are of earlier seeds."""
    if "seed" not in grades or grades["seed"].nunique() < 2:
        return pd.Series(0, index=grades.index)
    seeds = {seed: place for place, seed in enumerate(grades["seed"].unique())}
    return grades["seed"].map(seeds) * (grades["sample"].max() + 1)


def check_paired(grades: pd.DataFrame) -> None:
    """Make sure that every condition answered the same problems the same number of times.

    Raises
    ------
    ValueError
        Naming two conditions and the (problem, sample) pairs in which they differ, or answers that
        are there twice.
    """
    key = ["condition", "problem_id", "sample"]
    twice = grades.loc[grades.duplicated(key), key]
    if len(twice):
        raise ValueError(f"answers are there twice: {_some(list(twice.itertuples(index=False)))}")
    answered = {
        str(condition): set(zip(rows["problem_id"], rows["sample"], strict=True))
        for condition, rows in grades.groupby("condition", sort=False)
    }
    first, *others = answered
    for other in others:
        odd = sorted(answered[first] ^ answered[other])
        if odd:
            raise ValueError(
                f"{first} and {other} did not answer the same problems: they differ in {_some(odd)}"
            )


def correct_counts(grades: pd.DataFrame) -> pd.DataFrame:
    """How many of a problem's answers are right: [problems, conditions], in order of appearance."""
    return grades.astype({"correct": int}).pivot_table(
        index="problem_id", columns="condition", values="correct", aggfunc="sum", sort=False
    )


def first_samples(grades: pd.DataFrame) -> pd.DataFrame:
    """One answer per problem and condition."""
    return grades[grades["sample"] == grades["sample"].min()]


def _some(items: Sequence[tuple[object, ...]]) -> str:
    """The first five of a list, and how many more there are."""
    shown = [tuple(item) for item in items[:5]]
    return f"{shown}" + (f" and {len(items) - 5} more" if len(items) > 5 else "")
