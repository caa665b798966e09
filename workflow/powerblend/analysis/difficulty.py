"""Easy and hard problems: those that greedy decoding solves, and those that it does not.

Choosing the hard ones by one run's failures regresses to the mean: some of them failed by chance,
so that any other condition, a second greedy run on other hardware included, solves some.
"""

from typing import Any

import pandas as pd

from powerblend.analysis.grades import first_samples

REFERENCE = "greedy"


def difficulty(grades: pd.DataFrame) -> dict[str, Any] | None:
    """Accuracy of each condition on easy and on hard problems; None without the reference.

    ``easy`` and ``hard`` count problems; with several samples the reference's first decides, and
    a row counts answers, ``easy_total`` and ``hard_total`` of them.
    """
    reference = first_samples(grades[grades["condition"] == REFERENCE])
    if reference.empty:
        return None
    solved = set(reference.loc[reference["correct"].astype(bool), "problem_id"])
    return {
        "reference": REFERENCE,
        "easy": len(solved),
        "hard": len(reference) - len(solved),
        "rows": [
            {"condition": condition, **_row(answers, answers["problem_id"].isin(solved))}
            for condition, answers in grades.groupby("condition", sort=False)
        ],
    }


def _row(answers: pd.DataFrame, easy: pd.Series) -> dict[str, Any]:
    row: dict[str, Any] = {}
    for name, chosen in (("easy", answers[easy]), ("hard", answers[~easy])):
        correct, total = int(chosen["correct"].sum()), len(chosen)
        row |= {
            f"{name}_correct": correct,
            f"{name}_total": total,
            f"{name}_accuracy": correct / total if total else None,
        }
    return row
