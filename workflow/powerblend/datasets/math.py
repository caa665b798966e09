"""MATH-500, and any dataset that names its columns as a problem's fields are named."""

from collections.abc import Mapping
from typing import Any

FIELDS = ("problem", "answer", "unique_id", "subject", "level", "solution")


def fields(row: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that the row has; it must have the first two."""
    optional = {name: row[name] for name in FIELDS[2:] if name in row}
    return {"problem": row["problem"], "answer": row["answer"], **optional}
