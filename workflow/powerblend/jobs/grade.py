"""The grade job: a shard's records against the reference answers."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from powerblend.graders import Case, Grader
from powerblend.infrastructure.files import DamagedFile, write_jsonl
from powerblend.study.problems import read_problems
from powerblend.vocabulary.records import REMADE, Generated, read_records

BULKY = ("completion", "tokens", "key", "study", "condition")
"""Fields of a record that no table needs."""


def grade_records(
    records: Path, problems: Path, output: Path, grader: Grader, workers: int
) -> None:
    """Write a record's counts with its answer, the reference and the verdicts, in the same order.

    ``correct`` is the grader's verdict, ``second`` that of a second one (None where it gave none),
    ``reason`` says why an answer could not be graded, and ``rule`` what made it equal to the
    reference (None where nothing did).

    Raises
    ------
    DamagedFile
        If the records are not every sample of every problem, in order.
    """
    by_id = {problem.unique_id: problem for problem in read_problems(problems)}
    numbered = list(read_records(records, Generated))
    _check_complete(records, numbered, by_id)
    rows = [row for _, row in numbered]
    asked = [by_id[row["problem_id"]] for row in rows]
    cases = [
        Case(
            grader.answer_to(row["completion"], problem.problem, problem.answer),
            problem.problem,
            problem.answer,
        )
        for row, problem in zip(rows, asked, strict=True)
    ]
    verdicts = list(grader.verdicts(cases, workers))
    write_jsonl(
        output,
        [
            {
                **{key: value for key, value in row.items() if key not in BULKY},
                "subject": problem.subject,
                "level": problem.level,
                "answer": case.answer,
                "gold": case.reference,
                **verdict._asdict(),
            }
            for row, problem, case, verdict in zip(rows, asked, cases, verdicts, strict=True)
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
