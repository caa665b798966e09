"""HumanEval (Chen et al., arXiv 2107.03374): a function to complete, and the tests it must pass."""

from powerblend.datasets.base import Row


def fields(row: Row) -> Row:
    """The function's head is the problem; the answer is the program that tests it."""
    return {
        "problem": row["prompt"],
        "answer": f"{row['test']}\n\ncheck({row['entry_point']})\n",
        "unique_id": row["task_id"],
        "solution": row["canonical_solution"],
    }
