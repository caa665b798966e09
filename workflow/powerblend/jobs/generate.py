"""Generate answers for a shard.

A finished chain is stored at once. Run the same command again after an interruption: it continues
from the store. The spec of a study's cell is results/STUDY/specs/CELL.json.
"""

import argparse
from pathlib import Path

from powerblend.infrastructure.files import read_json, write_jsonl
from powerblend.jobs import arguments
from powerblend.jobs.device import on_device
from powerblend.jobs.models import load
from powerblend.study.answers import answer
from powerblend.study.problems import read_problems
from powerblend.study.store import ChainStore
from powerblend.vocabulary.specs import CellSpec


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Name a cell, a shard and where their answers go."""
    arguments.add_spec(parser, "the cell")
    arguments.add_paths(
        parser,
        problems="a shard, as JSON lines",
        store="chain store to continue",
        output="records to write, sorted and complete",
    )
    parser.add_argument(
        "--beta", type=Path, nargs="?", metavar="PATH", help="what match wrote, for a matched beta"
    )
    arguments.add_device(parser)
    arguments.add_rows(parser)
    parser.add_argument("--study", default="", help="label of the records")
    parser.add_argument("--condition", default="", help="label of the records")
    parser.add_argument("--samples", type=int, default=1, help="answers per problem (default 1)")


def run(options: argparse.Namespace) -> None:
    """Write the sorted, complete records of a cell and a shard."""
    spec = arguments.read_spec(options.spec, CellSpec)
    if options.beta is not None:
        spec = spec.with_beta(read_json(options.beta)["beta"])
    blend = spec.decoding.blend
    chains = ChainStore(options.store)
    with on_device(options):
        model = load(
            spec.model,
            [blend] if blend else [],
            path=options.model,
            draft=options.draft,
            device=options.device,
        )
        try:
            records = answer(
                spec,
                model,
                read_problems(options.problems),
                labels={"study": options.study, "condition": options.condition},
                samples=options.samples,
                rows=options.rows,
                store=chains,
            )
            write_jsonl(options.output, (record.model_dump() for record in records))
        finally:
            chains.close()
