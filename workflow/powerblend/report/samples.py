"""Several samples per problem as columns of a table, and accuracies by condition."""

from collections.abc import Mapping, Sequence
from typing import Any

from powerblend.report.text import percent

WAYS = {"pass_at": "pass@{}", "majority_at": "majority of {}", "best_of": "best of {}"}
MOST = 4
"""Values of k that a table shows per way of choosing: the largest."""


def accuracies(overall: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Accuracy by condition."""
    return {row["condition"]: row["accuracy"] for row in overall}


def sample_header(sampling: Sequence[Mapping[str, Any]]) -> list[str]:
    """Names of the columns that `sample_values` fills."""
    return [name.format(k) for way, name in WAYS.items() for k in _shown(sampling[0], way)]


def sample_values(row: Mapping[str, Any]) -> list[str]:
    """A condition's pass@k, majority votes and best-of-k."""
    return [
        percent({point["k"]: point["value"] for point in row[way]}[k])
        for way in WAYS
        for k in _shown(row, way)
    ]


def _shown(row: Mapping[str, Any], way: str) -> list[int]:
    """The powers of two, and the last; one sample is no choice."""
    ks = [point["k"] for point in row[way] if point["k"] > 1]
    return [k for k in ks if k & (k - 1) == 0 or k == ks[-1]][-MOST:]
