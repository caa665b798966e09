"""Answers for a person to look at: where the graders differ, and where they came to no verdict."""

from typing import TypeVar

import pandas as pd

from powerblend.analysis.overall import disagreeing
from powerblend.vocabulary.frozen import Frozen
from powerblend.vocabulary.summary import Disagreement, Ungraded

MAX_LISTED = 50
"""Answers listed; the overall table counts them all."""

Kind = TypeVar("Kind", bound=Frozen)


def disagreements(grades: pd.DataFrame) -> list[Disagreement]:
    """Answers on which both graders have a verdict and differ."""
    return _listed(Disagreement, grades[disagreeing(grades)])


def ungraded(grades: pd.DataFrame) -> list[Ungraded]:
    """Answers on which a grader has no verdict, with the reason; there being none is no reason."""
    chosen = grades["reason"].notna() & (grades["reason"] != "no answer")
    return _listed(Ungraded, grades[chosen])


def _listed(kind: type[Kind], grades: pd.DataFrame) -> list[Kind]:
    """The first of them, in the columns that their kind has; a missing value is None."""
    columns = grades[list(kind.model_fields)].head(MAX_LISTED)
    plain = columns.astype(object).where(columns.notna(), None)
    return [kind.model_validate(answer) for answer in plain.to_dict("records")]
