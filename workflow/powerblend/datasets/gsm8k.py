"""GSM8K (Cobbe et al., arXiv 2110.14168): the answer is the integer after ``####``."""

from collections.abc import Mapping
from typing import Any


def fields(row: Mapping[str, Any]) -> dict[str, Any]:
    """Question and answer; 1,000 is written 1000. The dataset has no ids."""
    _, mark, answer = row["answer"].rpartition("####")
    if not mark:
        raise ValueError("its answer has no ####")
    return {"problem": row["question"], "answer": answer.strip().replace(",", "")}
