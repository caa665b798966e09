"""Grade a shard's answers against the reference answers."""

import argparse
import hashlib
from collections.abc import Iterable, Sequence
from itertools import islice
from pathlib import Path
from statistics import fmean

from powerblend.graders import Case, Grader, Verdict
from powerblend.infrastructure.files import DamagedFile, write_jsonl
from powerblend.jobs import arguments
from powerblend.study.problems import read_problems
from powerblend.study.record_files import REMADE, read_records
from powerblend.vocabulary.problem import Problem
from powerblend.vocabulary.records import (
    AnswerCounts,
    AnswerRecord,
    GradeRecord,
    ReplicaGrade,
    ReplicaRecord,
)

STRING_DIGITS = 16
"""Of the digest that tells strings apart, in hexadecimal digits."""

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
        _case(grader, text, problem)
        for record, problem in zip(answers, asked, strict=True)
        for text in (record.completion, *(r.text or "" for r in record.replicas or ()))
    ]
    judged = zip(cases, grader.verdicts(cases, workers), strict=True)
    grades = [
        _grade(record, problem, next(judged), islice(judged, len(record.replicas or ())))
        for record, problem in zip(answers, asked, strict=True)
    ]
    write_jsonl(output, (grade.model_dump() for grade in grades))


def _case(grader: Grader, text: str, problem: Problem) -> Case:
    answer = grader.answer_to(text, problem.problem, problem.answer)
    return Case(answer, problem.problem, problem.answer)


def _grade(
    record: AnswerRecord,
    problem: Problem,
    judged: tuple[Case, Verdict],
    others: Iterable[tuple[Case, Verdict]],
) -> GradeRecord:
    """An answer's grade, and those of its other strings."""
    case, verdict = judged
    grade = GradeRecord(
        **record.model_dump(include=COUNTS),
        subject=problem.subject,
        level=problem.level,
        answer=case.answer,
        gold=case.reference,
        string=hashlib.sha256(str(record.tokens).encode()).hexdigest()[:STRING_DIGITS],
        **verdict._asdict(),
    )
    if record.token_certainty:
        grade = grade.model_copy(update={"certainty": fmean(record.token_certainty)})
    if record.replicas:
        graded = [_replica(*pair) for pair in zip(record.replicas, others, strict=True)]
        grade = grade.model_copy(update={"replicas": graded})
    return grade


def _replica(record: ReplicaRecord, judged: tuple[Case, Verdict]) -> ReplicaGrade:
    case, verdict = judged
    return ReplicaGrade(
        answer=case.answer,
        correct=verdict.correct,
        log_p=record.log_p,
        alpha=record.alpha,
        weight=record.weight,
        moves=record.moves,
        swaps=record.swaps,
    )


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
