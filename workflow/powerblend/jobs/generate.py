"""Generate answers for a shard, or for several at once.

A finished chain is stored at once. Run the same command again after an interruption: it continues
from the store. The spec of a study's cell is results/STUDY/specs/CELL.json.
"""

import argparse
import re
from itertools import islice
from pathlib import Path

from powerblend.infrastructure.files import read_json, write_jsonl
from powerblend.jobs import arguments
from powerblend.jobs.device import on_device
from powerblend.jobs.models import layers_read, load, remember
from powerblend.study.answers import answer
from powerblend.study.problems import read_problems
from powerblend.study.store import StoreByShard
from powerblend.vocabulary.problem import Problem
from powerblend.vocabulary.specs import CellSpec


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Name a cell, a shard and where their answers go."""
    arguments.add_spec(parser, "the cell")
    arguments.add_paths(
        parser,
        problems="a shard, as JSON lines; with --shards, all problems",
    )
    parser.add_argument(
        "--shards", nargs="+", metavar="NAME", help="those of the problems to do: shard-I-of-N"
    )
    for name, text in (
        ("store", "chain store to continue, one for each shard"),
        ("output", "records to write, sorted and complete, one file for each shard"),
    ):
        parser.add_argument(
            f"--{name}", type=Path, nargs="+", required=True, metavar="PATH", help=text
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
    """Write the sorted, complete records of a cell and its shards."""
    spec = arguments.read_spec(options.spec, CellSpec)
    if options.beta is not None:
        spec = spec.with_beta(read_json(options.beta)["beta"])
    blend = spec.decoding.blend
    shards = _shards(options)
    chains = StoreByShard(zip(shards, options.store, strict=True))
    with on_device(options):
        model = load(
            spec.model,
            [blend] if blend else [],
            path=options.model,
            draft=options.draft,
            device=options.device,
        )
        remember(model, layers_read(model, [blend] if blend else []))
        try:
            records = answer(
                spec,
                model,
                [problem for shard in shards for problem in shard],
                labels={"study": options.study, "condition": options.condition},
                samples=options.samples,
                rows=options.rows,
                store=chains,
                speculate=options.speculate,
            )
            for shard, output in zip(shards, options.output, strict=True):
                own = islice(records, len(shard) * options.samples)
                write_jsonl(output, (record.model_dump() for record in own))
        finally:
            chains.close()


def _shards(options: argparse.Namespace) -> list[list[Problem]]:
    """The problems of each shard to do.

    Raises
    ------
    ValueError
        If a name is none of a shard, or there is not one store and one output for each.
    """
    problems = read_problems(options.problems)
    shards = [problems[_slice(name)] for name in options.shards] if options.shards else [problems]
    for name in ("store", "output"):
        if len(getattr(options, name)) != len(shards):
            raise ValueError(
                f"--{name}: {len(getattr(options, name))} paths for {len(shards)} shards; "
                "give one for each of --shards"
            )
    return shards


def _slice(name: str) -> slice:
    match = re.fullmatch(r"shard-(\d+)-of-(\d+)", name)
    if match is None or not int(match[1]) < int(match[2]):
        raise ValueError(f"--shards: {name!r} is no shard; give names as shard-0-of-40")
    return slice(int(match[1]), None, int(match[2]))
