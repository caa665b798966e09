"""Grade a shard's answers against the reference answers."""

import argparse
from collections.abc import Iterable, Sequence
from pathlib import Path

from powerblend.graders import Case, Grader
from powerblend.infrastructure.files import DamagedFile, write_jsonl
from powerblend.jobs import arguments
from powerblend.study.problems import read_problems
from powerblend.study.record_files import REMADE, read_records
from powerblend.vocabulary.records import AnswerCounts, AnswerRecord, GradeRecord

COUNTS = set(AnswerCounts.model_fields)
"""Fields of an answer's record that its grade has too."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Name the answers, their problems and the way of grading."""
    arguments.add_spec(parser, "the configuration's grading")
    arguments.add_paths(
        parser, records="what generate wrote", problems="the shard", output="grades, JSON lines"
    )
    parser.add_argument("--workers", type=int, default=1, help="grading processes (default 1)")


def run(options: argparse.Namespace) -> None:
    """Write the grades of a file of records."""
    grader = arguments.read_grader(options.spec)
    grade_records(options.records, options.problems, options.output, grader, options.workers)


def grade_records(
    records: Path, problems: Path, output: Path, grader: Grader, workers: int
) -> None:
    """Write a record's counts with its answer, the reference and the verdicts, in the same order.

    Raises
    ------
    DamagedFile
        If the records are not every sample of every problem, in order.
    """
    by_id = {problem.unique_id: problem for problem in read_problems(problems)}
    numbered = list(read_records(records, AnswerRecord))
    _check_complete(records, numbered, by_id)
    answers = [record for _, record in numbered]
    asked = [by_id[record.problem_id] for record in answers]
    cases = [
        Case(
            grader.answer_to(record.completion, problem.problem, problem.answer),
            problem.problem,
            problem.answer,
        )
        for record, problem in zip(answers, asked, strict=True)
    ]
    verdicts = list(grader.verdicts(cases, workers))
    grades = [
        GradeRecord(
            **record.model_dump(include=COUNTS),
            subject=problem.subject,
            level=problem.level,
            answer=case.answer,
            gold=case.reference,
            **verdict._asdict(),
        )
        for record, problem, case, verdict in zip(answers, asked, cases, verdicts, strict=True)
    ]
    write_jsonl(output, (grade.model_dump() for grade in grades))


def _check_complete(
    path: Path, answers: Sequence[tuple[int, AnswerRecord]], problem_ids: Iterable[str]
) -> None:
    samples = 1 + max((record.sample for _, record in answers), default=0)
    expected = [(problem_id, sample) for problem_id in problem_ids for sample in range(samples)]
    for (number, record), due in zip(answers, expected, strict=False):
        if (record.problem_id, record.sample) != due:
            found = f"sample {record.sample} of {record.problem_id!r}"
            raise DamagedFile(
                f"{path}, line {number}: {found}, where sample {due[1]} of {due[0]!r} "
                f"belongs; {REMADE}"
            )
    if len(answers) != len(expected):
        raise DamagedFile(f"{path}: {len(answers)} answers instead of {len(expected)}; {REMADE}")
