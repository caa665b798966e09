"""Write the page on which to look at a study's answers."""

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

from powerblend.infrastructure.files import write_text
from powerblend.jobs import arguments
from powerblend.report.answers import Graded, render_answers
from powerblend.study.problems import read_problems
from powerblend.study.record_files import read_records
from powerblend.vocabulary.records import AnswerRecord, GradeRecord


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Name the study, and where its page goes."""
    arguments.add_paths(parser, config=arguments.CONFIGURATION, output="HTML to write")


def run(options: argparse.Namespace) -> None:
    """Write the page."""
    study, layout = arguments.read_study(options.config)
    graded = {
        name: read_graded(layout.answers_of(name), layout.grades_of(name)) for name in layout.cells
    }
    problems = read_problems(layout.problems)
    write_text(options.output, render_answers(study.title, problems, graded))


def read_graded(answers: Sequence[Path], grades: Sequence[Path]) -> Iterator[Graded]:
    """Each answer with its verdicts, from files in which both have the same order."""
    for answered, judged in zip(answers, grades, strict=True):
        records, verdicts = read_records(answered, AnswerRecord), read_records(judged, GradeRecord)
        for (_, record), (_, grade) in zip(records, verdicts, strict=True):
            yield record, grade
