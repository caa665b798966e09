"""Write a study's answers and grades as a dataset for others: Parquet, with a card.

powerblend export demo
powerblend export demo --output answers --license mit
hf upload --repo-type dataset NAME/REPOSITORY results/demo/export

The study has run: its records are under results/STUDY. The folder loads with the package datasets,
and its README.md says how, and how to grade the answers again.
"""

import argparse
import logging
import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from powerblend.infrastructure.files import read_json, write_json, write_text
from powerblend.jobs import arguments
from powerblend.jobs.answers import read_graded
from powerblend.study.export import Counted, card, table
from powerblend.study.problems import read_problems

log = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Name the study, and where its dataset goes."""
    parser.add_argument("study", help="its name, or its results/STUDY/config-DIGEST.json")
    parser.add_argument(
        "--output", type=Path, metavar="PATH", help="folder (default results/STUDY/export)"
    )
    parser.add_argument("--license", metavar="NAME", help="of the records, as the hub names it")


def run(options: argparse.Namespace) -> None:
    """Write the dataset."""
    config = configuration(options.study)
    study, layout = arguments.read_study(config)
    output = options.output or layout.results / "export"
    problems = {problem.unique_id: problem for problem in read_problems(layout.problems)}
    counted = []
    for name, cells in layout.seeded_cells.items():
        graded = read_graded(layout.answers_of(name), layout.grades_of(name))
        answers = table(study.study, name, graded, problems)
        write_parquet(output / "data" / f"{name}.parquet", answers)
        for seed, cell in zip(study.answer_seeds, cells, strict=True):
            file = f"{name}.json" if len(cells) == 1 else f"{name}-seed-{seed}.json"
            write_json(output / "specs" / file, read_json(layout.spec(cell.name)))
        how = study.in_use[name].sampler.describe().sampling.replace("{p}", "p")
        correct = sum(answers["correct"].to_pylist())
        counted.append(Counted(name, how, len(answers), correct))
        log.info("%s: %d answers", name, len(answers))
    write_json(output / "config.json", read_json(config))
    write_text(output / "README.md", card(study, counted, options.license))
    log.info("to upload it: hf upload --repo-type dataset NAME/REPOSITORY %s", output)


def configuration(study: str) -> Path:
    """The configuration of a study that ran: that of its last run, where there were several.

    Raises
    ------
    ValueError
        If there is none.
    """
    if study.endswith(".json"):
        return Path(study)
    ran = Path("results", study).glob("config-*.json")
    newest = max(ran, key=lambda path: path.stat().st_mtime, default=None)
    if newest is None:
        raise ValueError(
            f"there is no results/{study}/config-*.json: give the name of a study that has run "
            "in this folder"
        )
    return newest


def write_parquet(path: Path, rows: pa.Table) -> None:
    """Write a table so that readers see the old file or the new one, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    pq.write_table(rows, partial, compression="zstd")
    os.replace(partial, path)
