"""The grade job: a shard's records against the reference answers."""

from pathlib import Path
from typing import Any

from powerblend.grading import GraderPool, Verdict, extract_boxed
from powerblend.study.files import read_jsonl, write_jsonl
from powerblend.study.problems import read_problems

BULKY = ("completion", "tokens", "key", "study", "condition")
"""Fields of a record that no table needs."""

SECONDS = 20.0
"""Longest that one answer may take; after that it counts as wrong, with its reason."""


def grade_records(records: Path, problems: Path, output: Path, workers: int) -> None:
    """Write a record's counts with its answer, the reference and both verdicts, in the same order.

    ``correct`` is the primary grader's verdict, ``second`` Math-Verify's (None where it gave none),
    and ``reason`` says why an answer could not be graded.
    """
    by_id = {problem.unique_id: problem for problem in read_problems(problems)}
    rows = read_jsonl(records)
    pairs = [(extract_boxed(row["completion"]), by_id[row["problem_id"]].answer) for row in rows]
    with GraderPool(workers=workers, seconds=SECONDS) as pool:
        verdicts = list(pool.grade(pairs))
    write_jsonl(
        output,
        [
            {
                **{key: value for key, value in row.items() if key not in BULKY},
                "subject": by_id[row["problem_id"]].subject,
                "level": by_id[row["problem_id"]].level,
                **_graded(pair, verdict),
            }
            for row, pair, verdict in zip(rows, pairs, verdicts, strict=True)
        ],
    )


def _graded(pair: tuple[str | None, str], verdict: Verdict) -> dict[str, Any]:
    answer, gold = pair
    return {"answer": answer, "gold": gold, **verdict._asdict()}
