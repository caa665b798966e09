"""The tables job: every number of the report, from the grades and what the other jobs found."""

import argparse
import json
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from powerblend.analysis.grades import read_grades
from powerblend.analysis.summary import summarise_study
from powerblend.infrastructure.files import read_json, write_text
from powerblend.study.layout import Layout
from powerblend.study.schema import parse_study
from powerblend.vocabulary.frozen import Frozen
from powerblend.vocabulary.measurements import MatchedBlend, ProbeMeasurements, TrainingReport


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The study, and where its tables go."""
    for name, text in {
        "config": "the study's merged configuration, as JSON (results/STUDY/config-DIGEST.json)",
        "output": "overall table, CSV",
        "summary": "every number, JSON",
    }.items():
        parser.add_argument(f"--{name}", type=Path, required=True, metavar="PATH", help=text)


def run(options: argparse.Namespace) -> None:
    """Compute every number of the report."""
    study = parse_study(read_json(options.config))
    # Beside its configuration, ROOT/results/STUDY/config.json.
    layout = Layout(study, options.config.absolute().parents[2])
    summary = summarise_study(
        study,
        read_grades(layout.grades()),
        ProbeMeasurements.read(layout.probe) if layout.probe else None,
        {name: MatchedBlend.read(path) for name, path in layout.betas().items()},
        TrainingReport.read(layout.draft / "training.json") if layout.draft else None,
    )
    write_table(options.output, summary.overall)
    if measured := summary.probe.measured:
        write_table(options.output.with_name("probe_layers.csv"), measured.layers)
        write_table(options.output.with_name("probe_blends.csv"), measured.blends)
    plain = summary.model_dump(mode="json")
    write_text(options.summary, json.dumps(plain, indent=2, ensure_ascii=False) + "\n")


def write_table(path: Path, values: Iterable[Frozen]) -> None:
    """Values of one kind as CSV, a line each."""
    write_text(path, pd.DataFrame([value.model_dump() for value in values]).to_csv(index=False))
