"""The grade of every answer of a study, as one table."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from powerblend.study.files import read_jsonl


def read_grades(files: Mapping[str, Sequence[Path]]) -> pd.DataFrame:
    """One row per answer, from the grade files of each condition; ``condition`` is a column.

    Raises
    ------
    ValueError
        If conditions did not answer the same problems the same number of times.
    """
    grades = pd.concat(
        [
            pd.DataFrame(read_jsonl(path)).assign(condition=condition)
            for condition, paths in files.items()
            for path in paths
        ],
        ignore_index=True,
    )
    answered = {
        str(condition): set(zip(rows["problem_id"], rows["sample"], strict=True))
        for condition, rows in grades.groupby("condition", sort=False)
    }
    first, *others = answered
    for other in others:
        odd = sorted(answered[first] ^ answered[other])
        if odd:
            raise ValueError(
                f"{first} and {other} did not answer the same problems: they differ in {odd[:5]}"
                + (f" and {len(odd) - 5} more" if len(odd) > 5 else "")
            )
    return grades
