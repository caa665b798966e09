"""MATH-500, and any dataset that names its columns as a problem's fields are named."""

from powerblend.datasets.base import Row

FIELDS = ("problem", "answer", "unique_id", "subject", "level", "solution")


def fields(row: Row) -> Row:
    """The fields that the row has; it must have the first two."""
    optional = {name: row[name] for name in FIELDS[2:] if name in row}
    return {"problem": row["problem"], "answer": row["answer"], **optional}
