"""Easy and hard problems: those that greedy decoding solves, and those that it does not.

Choosing the hard ones by one run's failures regresses to the mean: some of them failed by chance,
so that any other condition, a second greedy run on other hardware included, solves some.
"""

from collections.abc import Collection, Mapping

import pandas as pd

from powerblend.analysis.grades import first_samples
from powerblend.vocabulary.summary import Condition, ConditionDifficulty, Difficulty


def difficulty_reference(conditions: Mapping[str, Condition]) -> str | None:
    """The first condition that always gives the same answer, and blends nothing."""
    return next(
        (
            name
            for name, condition in conditions.items()
            if condition.description.deterministic and condition.blend is None
        ),
        None,
    )


def difficulty(grades: pd.DataFrame, reference: str | None) -> Difficulty | None:
    """Accuracy of each condition on easy and on hard problems; None without the reference.

    With several samples the reference's first decides.
    """
    answers = first_samples(grades[grades["condition"] == reference])
    if answers.empty:
        return None
    solved = set(answers.loc[answers["correct"].astype(bool), "problem_id"])
    return Difficulty(
        reference=str(reference),
        easy=len(solved),
        hard=len(answers) - len(solved),
        rows=tuple(
            _by_difficulty(str(condition), of_condition, solved)
            for condition, of_condition in grades.groupby("condition", sort=False)
        ),
    )


def _by_difficulty(
    condition: str, answers: pd.DataFrame, solved: Collection[str]
) -> ConditionDifficulty:
    is_easy = answers["problem_id"].isin(solved)
    easy, hard = answers.loc[is_easy, "correct"], answers.loc[~is_easy, "correct"]
    return ConditionDifficulty(
        condition=condition,
        easy_correct=int(easy.sum()),
        easy_total=len(easy),
        easy_accuracy=_share(easy),
        hard_correct=int(hard.sum()),
        hard_total=len(hard),
        hard_accuracy=_share(hard),
    )


def _share(correct: pd.Series) -> float | None:
    return int(correct.sum()) / len(correct) if len(correct) else None
