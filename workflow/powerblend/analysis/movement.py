"""Did the chain move? What acceptance cannot say, for most accepted moves change nothing."""

from collections.abc import Mapping

import pandas as pd

from powerblend.vocabulary.summary import Condition, Movement

COMPARED = ("temperature", "power")
"""Roles of whose first conditions a chain's answers may be the very strings."""


def movements(grades: pd.DataFrame, conditions: Mapping[str, Condition]) -> list[Movement]:
    """Of every condition that makes moves: how many changed the answer."""
    strings = strings_of(grades)
    others = _compared(strings, conditions)
    moving = grades[grades["moves"] > 0]
    return [
        _movement(str(condition), answers, strings, others)
        for condition, answers in moving.groupby("condition", sort=False)
        if condition in conditions
    ]


def moved(answers: pd.DataFrame) -> "pd.Series[int]":
    """Moves that changed each answer: as counted, else the accepted ones that were not itself."""
    plain = answers["accepted"] - answers["unchanged"]
    if "moved" not in answers:
        return plain
    return answers["moved"].fillna(plain).astype(int)


def _movement(
    name: str, answers: pd.DataFrame, strings: pd.DataFrame, others: list[str]
) -> Movement:
    changes, tokens = moved(answers), answers["decoded_tokens"].sum()
    equal = {
        other: float((strings[name] == strings[other]).mean()) for other in others if other != name
    }
    return Movement(
        condition=name,
        moves=float(answers["moves"].mean()),
        moved=float(changes.mean()),
        unmoved=float((changes == 0).mean()),
        moved_per_thousand=1000 * float(changes.sum() / tokens),
        equal=equal if name in strings else {},
    )


def strings_of(grades: pd.DataFrame) -> pd.DataFrame:
    """What tells each answer's string: [answers, conditions]; empty where grades lack it."""
    if "string" not in grades or grades["string"].isna().any():
        return pd.DataFrame()
    return grades.pivot(index=["problem_id", "sample"], columns="condition", values="string")


def _compared(strings: pd.DataFrame, conditions: Mapping[str, Condition]) -> list[str]:
    """The first condition of each role of `COMPARED` that samples the model alone.

    Ordinary sampling's role is another than that of the temperature 1 / alpha that chains start at.
    """
    firsts: dict[str, str] = {}
    for name, condition in conditions.items():
        if name in strings and condition.blend is None:
            firsts.setdefault(condition.description.role, name)
    return [firsts[role] for role in COMPARED if role in firsts]
