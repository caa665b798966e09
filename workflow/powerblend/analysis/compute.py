"""Accuracy against compute: what a condition solves, and what it decodes per problem for it."""

from collections.abc import Collection
from typing import Any

import pandas as pd


def compute(
    overall: pd.DataFrame, sampling: list[dict[str, Any]], fixed: Collection[str]
) -> list[dict[str, Any]]:
    """Each condition on its own, then with majority vote and best-of-k over its samples.

    ``decoded_tokens`` are per problem, rejected work included: k answers cost k times the mean of
    one. Conditions in ``fixed`` give the same answer every time; more of them are no use.
    """
    tokens = dict(zip(overall["condition"], overall["decoded_tokens"], strict=True))
    rows = [
        _point(condition, "single", 1, tokens[condition], accuracy)
        for condition, accuracy in zip(overall["condition"], overall["accuracy"], strict=True)
    ]
    for row in sampling:
        condition = row["condition"]
        for method, values in (("majority", row["majority_at"]), ("best_of", row["best_of"])):
            rows += [
                _point(condition, method, at["k"], tokens[condition], at["value"])
                for at in values
                if at["k"] > 1 and condition not in fixed
            ]
    return rows


def _point(condition: str, method: str, k: int, tokens: float, accuracy: float) -> dict[str, Any]:
    way = {"single": "", "majority": f", majority of {k}", "best_of": f", best of {k}"}[method]
    return {
        "label": condition + way,
        "condition": condition,
        "method": method,
        "k": k,
        "decoded_tokens": k * float(tokens),
        "accuracy": float(accuracy),
    }
