"""AIME, one year a dataset: answers are integers from 0 to 999, sometimes written 033."""

import re

from powerblend.datasets.base import Row


def fields(row: Row) -> Row:
    r"""Problem and answer; a unit behind the number, as in ``336^\circ``, is left out."""
    number = re.match(r"\s*(\d{1,3})(?!\d)", str(row["answer"]))
    if not number:
        raise ValueError(f"its answer is {row['answer']!r}, not an integer from 0 to 999")
    return {
        "problem": row["problem"],
        "answer": str(int(number[1])),
        "unique_id": row["id"],
        "solution": row.get("solution", ""),
    }
