"""Compute every number of the report."""

import argparse
import json

import pandas as pd

from powerblend.analysis.grades import read_grades
from powerblend.analysis.overall import overall
from powerblend.analysis.probe import probed
from powerblend.analysis.summary import summarise
from powerblend.infrastructure.files import read_json, write_text
from powerblend.jobs import arguments


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Name the study, whose grades and probe are read."""
    arguments.add_paths(
        parser,
        config=arguments.CONFIGURATION,
        output="overall table, CSV",
        summary="every number, JSON",
    )


def run(options: argparse.Namespace) -> None:
    """Write the tables."""
    study, layout = arguments.read_study(options.config)
    grades = read_grades(layout.grades())
    write_text(options.output, overall(grades).to_csv(index=False))
    matched = {name: read_json(path) for name, path in layout.betas.items()}
    samplers = study.samplers({name: found["beta"] for name, found in matched.items()})
    probe = probed(read_json(layout.probe) if layout.probe else None, samplers, matched)
    for part in ("layers", "blends") if layout.probe else ():
        rows = pd.DataFrame(probe["measured"][part])
        write_text(options.output.with_name(f"probe_{part}.csv"), rows.to_csv(index=False))
    training = read_json(layout.draft / "training.json") if layout.draft else None
    summary = summarise(grades, samplers, study.contrasts)
    summary |= {"probe": probe, "training": training}
    write_text(options.summary, json.dumps(summary, indent=2, ensure_ascii=False) + "\n")
