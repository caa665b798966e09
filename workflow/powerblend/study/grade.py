"""The grade job: a shard's records against the reference answers."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from powerblend.grading import GraderPool, Verdict, extract_boxed
from powerblend.study.files import DamagedFile, write_jsonl
from powerblend.study.problems import read_problems
from powerblend.study.records import REMADE, Generated, read_records

BULKY = ("completion", "tokens", "key", "study", "condition")
"""Fields of a record that no table needs."""

SECONDS = 20.0
"""Longest that one answer may take; after that it counts as wrong, with its reason."""


def grade_records(records: Path, problems: Path, output: Path, workers: int) -> None:
    """Write a record's counts with its answer, the reference and both verdicts, in the same order.

    ``correct`` is the primary grader's verdict, ``second`` Math-Verify's (None where it gave none),
    and ``reason`` says why an answer could not be graded.

    Raises
    ------
    DamagedFile
        If the records are not every sample of every problem, in order.
    """
    by_id = {problem.unique_id: problem for problem in read_problems(problems)}
    numbered = list(read_records(records, Generated))
    _check_complete(records, numbered, by_id)
    rows = [row for _, row in numbered]
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


def _check_complete(
    path: Path, rows: Sequence[tuple[int, dict[str, Any]]], problem_ids: Iterable[str]
) -> None:
    samples = 1 + max((row["sample"] for _, row in rows), default=0)
    expected = [(problem_id, sample) for problem_id in problem_ids for sample in range(samples)]
    for (number, row), answer in zip(rows, expected, strict=False):
        if (row["problem_id"], row["sample"]) != answer:
            found = f"sample {row['sample']} of {row['problem_id']!r}"
            raise DamagedFile(
                f"{path}, line {number}: {found}, where sample {answer[1]} of {answer[0]!r} "
                f"belongs; {REMADE}"
            )
    if len(rows) != len(expected):
        raise DamagedFile(f"{path}: {len(rows)} answers instead of {len(expected)}; {REMADE}")


def _graded(pair: tuple[str | None, str], verdict: Verdict) -> dict[str, Any]:
    answer, gold = pair
    return {"answer": answer, "gold": gold, **verdict._asdict()}
