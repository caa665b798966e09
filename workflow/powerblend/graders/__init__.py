"""Graders: how a completion is judged, one file each.

A grader is a pydantic model with the keys that a study's ``grading:`` mapping may hold, and the
methods of `base.Grader`. To add one, write its file and add it to `AnyGrader`.
"""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field, TypeAdapter

from powerblend.graders.base import Case, Grader, Verdict
from powerblend.graders.code import CodeGrader
from powerblend.graders.integer import IntegerGrader
from powerblend.graders.math import MathGrader

AnyGrader = Annotated[
    MathGrader | IntegerGrader | CodeGrader,
    Field(discriminator="grader"),
]


def parse_grader(grading: Mapping[str, Any]) -> Grader:
    """The grader that a ``grading`` mapping describes.

    Raises
    ------
    ValueError
        If there is no such grader, or it cannot be set up so.
    """
    grader: Grader = TypeAdapter(AnyGrader).validate_python(dict(grading))
    return grader


__all__ = [
    "AnyGrader",
    "Case",
    "CodeGrader",
    "Grader",
    "IntegerGrader",
    "MathGrader",
    "Verdict",
    "parse_grader",
]
