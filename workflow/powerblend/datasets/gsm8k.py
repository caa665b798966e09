"""GSM8K (Cobbe et al., arXiv 2110.14168): the answer is the integer after ``####``."""

import re

from powerblend.datasets.base import Row


def fields(row: Row) -> Row:
    """Question, answer and solution; 1,000 is written 1000. The dataset has no ids."""
    solution, mark, answer = row["answer"].rpartition("####")
    if not mark:
        raise ValueError("its answer has no ####")
    return {
        "problem": row["question"],
        "answer": answer.strip().replace(",", ""),
        # Without the sums that are noted for a calculator, as <<2*3=6>>.
        "solution": re.sub(r"<<[^<>]*>>", "", solution).strip(),
    }
