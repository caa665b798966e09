"""Compute every number of the report, from the grades and what the other jobs found."""

import argparse
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from powerblend.analysis.grades import read_grades
from powerblend.analysis.summary import summarise_study
from powerblend.infrastructure.files import write_json, write_text
from powerblend.jobs import arguments
from powerblend.vocabulary.frozen import Frozen
from powerblend.vocabulary.measurements import MatchedBlend, ProbeMeasurements, TrainingReport


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Name the study, and where its tables go."""
    arguments.add_paths(
        parser,
        config=arguments.CONFIGURATION,
        output="overall table, CSV",
        summary="every number, JSON",
    )


def run(options: argparse.Namespace) -> None:
    """Write the tables."""
    study, layout = arguments.read_study(options.config)
    summary = summarise_study(
        study,
        read_grades(layout.grades()),
        ProbeMeasurements.read(layout.probe) if layout.probe else None,
        {name: MatchedBlend.read(path) for name, path in layout.betas.items()},
        TrainingReport.read(layout.draft / "training.json") if layout.draft else None,
    )
    write_table(options.output, summary.overall)
    if measured := summary.probe.measured:
        write_table(options.output.with_name("probe_layers.csv"), measured.layers)
        write_table(options.output.with_name("probe_blends.csv"), measured.blends)
    write_json(options.summary, summary.model_dump(mode="json"))


def write_table(path: Path, values: Iterable[Frozen]) -> None:
    """Values of one kind as CSV, a line each."""
    write_text(path, pd.DataFrame([value.model_dump() for value in values]).to_csv(index=False))
