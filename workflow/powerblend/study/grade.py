"""The grade job: a shard's records against the reference answers."""

from pathlib import Path
from typing import Any

from powerblend.grading import extract_boxed, grade
from powerblend.study.files import read_jsonl, write_jsonl
from powerblend.study.problems import Problem, read_problems

BULKY = ("completion", "tokens", "key", "study", "condition")
"""Fields of a record that no table needs."""


def grade_records(records: Path, problems: Path, output: Path) -> None:
    """Write a record's counts with its answer, the reference and the verdict, in the same order."""
    by_id = {problem.unique_id: problem for problem in read_problems(problems)}
    write_jsonl(output, [_graded(r, by_id[r["problem_id"]]) for r in read_jsonl(records)])


def _graded(record: dict[str, Any], problem: Problem) -> dict[str, Any]:
    answer = extract_boxed(record["completion"])
    return {
        **{key: value for key, value in record.items() if key not in BULKY},
        "subject": problem.subject,
        "level": problem.level,
        "answer": answer,
        "gold": problem.answer,
        "correct": grade(answer, problem.answer),
    }
