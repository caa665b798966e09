"""The grade job: a shard's records against the reference answers."""

from pathlib import Path

from powerblend.graders import Case, Grader
from powerblend.study.files import read_jsonl, write_jsonl
from powerblend.study.problems import read_problems

BULKY = ("completion", "tokens", "key", "study", "condition")
"""Fields of a record that no table needs."""


def grade_records(
    records: Path, problems: Path, output: Path, grader: Grader, workers: int
) -> None:
    """Write a record's counts with its answer, the reference and the verdicts, in the same order.

    ``correct`` is the grader's verdict, ``second`` that of a second one (None where it gave none),
    and ``reason`` says why an answer could not be graded.
    """
    by_id = {problem.unique_id: problem for problem in read_problems(problems)}
    rows = read_jsonl(records)
    asked = [by_id[row["problem_id"]] for row in rows]
    cases = [
        Case(grader.answer(row["completion"]), problem.problem, problem.answer)
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
