"""Generate answers for a shard, or for several at once.

A finished chain is stored at once. Run the same command again after an interruption: it continues
from the store. The spec of a study's cell is results/STUDY/specs/CELL.json.

With the model in memory the job goes on with its siblings' chains, which are other cells' answers
to the same shards: it puts them into their stores, where their own jobs find them, and writes no
records of them.
"""

from __future__ import annotations

import argparse
import logging
import re
from collections.abc import Iterator
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from powerblend.infrastructure.files import FullDisk, read_json, write_jsonl
from powerblend.infrastructure.imports import uncollected
from powerblend.jobs import arguments
from powerblend.jobs.device import on_device
from powerblend.study.cells import loaded_for
from powerblend.study.known_keys import basis, know_keys, known_keys, loaded_files
from powerblend.study.layout import chains_beside
from powerblend.study.problems import read_problems
from powerblend.study.store import Busy, StoreByShard, records_of
from powerblend.vocabulary.problem import Problem
from powerblend.vocabulary.specs import CellSpec

if TYPE_CHECKING:
    from powerblend.blends import Blend
    from powerblend.engine.model import Model

log = logging.getLogger(__name__)


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
    parser.add_argument(
        "--siblings",
        type=Path,
        nargs="*",
        default=[],
        metavar="SPEC",
        help="cells to go on with, by their specs: what a store lacks of their answers to the same "
        "shards, where no other job is at it. Their stores are beside this one's, "
        "results/STUDY/chains/CELL/SHARD.jsonl",
    )


def run(options: argparse.Namespace) -> None:
    """Write the sorted, complete records of a cell and its shards, and go on with siblings."""
    spec = arguments.read_spec(options.spec, CellSpec)
    work = Work(
        cell="",
        spec=_with_beta(spec, options),
        shards=_shards(options),
        stores=options.store,
        labels={"study": options.study, "condition": options.condition},
    )
    with closing(Bench(spec, options)) as bench:
        try:
            _write(work, bench, wait=False)
        except Busy:
            # A sibling's process is at these chains: there may be others to be done meanwhile.
            _go_on(work, bench)
            _write(work, bench, wait=True)
        else:
            _go_on(work, bench)


@dataclass(frozen=True)
class Work:
    """A cell's answers to the problems of some shards, and the shards' chain stores.

    ``cell`` is empty where they are the job's own.
    """

    cell: str
    spec: CellSpec
    shards: list[list[Problem]]
    stores: list[Path]
    labels: dict[str, str]


class Bench:
    """Where a job works, with the one model of all its work, which is loaded when it is needed.

    ``spec`` is that of the job's own cell, as it was read.
    """

    def __init__(self, spec: CellSpec, options: argparse.Namespace) -> None:
        self.options = options
        self._loaded_for = loaded_for(spec)
        self._files = loaded_files(spec, options.model, options.draft)
        self._held = ExitStack()
        self._model: Model | None = None

    def fits(self, spec: CellSpec) -> bool:
        """Whether the model, its draft and the matched beta are those of a cell too."""
        return loaded_for(spec) == self._loaded_for

    def basis(self, work: Work) -> str | None:
        """What decides the keys of some work, None where that cannot be known."""
        return self._files and basis(work.spec, self.options.samples, self._files)

    def model(self, spec: CellSpec) -> Model:
        """The model, which has all that a cell asks of it; raises as `jobs.models.load` does."""
        blend = spec.decoding.blend
        if self._model is None:
            self._model = self._load(spec)
        elif blend:
            blend.check(self._model.num_layers)
        return self._model

    def close(self) -> None:
        """Give back the GPU."""
        self._held.close()

    def _load(self, spec: CellSpec) -> Model:
        with uncollected():
            from powerblend.jobs.models import layers_read, load, remember

        options, blend = self.options, spec.decoding.blend
        blends = [blend] if blend else []
        self._held.enter_context(on_device(options))
        model = load(
            spec.model, blends, path=options.model, draft=options.draft, device=options.device
        )
        # Siblings' too: what is known of a string without a layer's output is computed again.
        layers = layers_read(model, [*blends, *self._siblings_blends()])
        remember(model, (layer for layer in layers if layer < model.num_layers))
        return model

    def _siblings_blends(self) -> Iterator[Blend]:
        for path in self.options.siblings:
            # Whatever is wrong with one is said when its turn comes.
            with suppress(OSError, ValueError):
                blend = arguments.read_spec(path, CellSpec).decoding.blend
                if blend:
                    yield blend


def _write(work: Work, bench: Bench, *, wait: bool) -> None:
    """Write the records of all shards, once every chain is in the stores."""
    with closing(_opened(work, wait=wait)) as chains:
        for keys, output in zip(_keys(work, bench, chains), bench.options.output, strict=True):
            records = records_of(chains, keys, work.labels)
            write_jsonl(output, (record.model_dump() for record in records))


def _go_on(own: Work, bench: Bench) -> None:
    """Do the siblings' work that no other job is at; what fails there is their own jobs' to say."""
    for path in bench.options.siblings:
        try:
            work = _sibling(path, own, bench)
            if work is None or _known(work, bench) is not None:
                continue
            with closing(_opened(work, wait=False)) as chains:
                log.info("goes on with %s", work.cell)
                _keys(work, bench, chains)
        except Busy:
            continue
        except FullDisk:
            raise
        except Exception as error:
            log.warning(
                "%s: its chains cannot be done here (%s: %s); its own job will try again",
                path.stem,
                type(error).__name__,
                error,
            )
            log.debug("", exc_info=error)
            return


def _sibling(path: Path, own: Work, bench: Bench) -> Work | None:
    """Another cell's answers to the same shards, unless there is no such work for this model."""
    if not path.exists():
        return None
    spec = arguments.read_spec(path, CellSpec)
    if not bench.fits(spec):
        return None
    return Work(
        cell=path.stem,
        spec=_with_beta(spec, bench.options),
        shards=own.shards,
        stores=[chains_beside(store, path.stem) for store in own.stores],
        labels=own.labels | {"condition": path.stem.split("-")[0]},
    )


def _opened(work: Work, *, wait: bool) -> StoreByShard:
    return StoreByShard(zip(work.shards, work.stores, strict=True), wait=wait)


def _keys(work: Work, bench: Bench, chains: StoreByShard) -> list[list[str]]:
    """The keys of each shard's answers, all of which are then in the stores."""
    known = _known(work, bench)
    if known is not None and all(key in chains for keys in known for key in keys):
        count = sum(map(len, known))
        log.info("%d of %d chains are in the store", count, count)
        return known
    made = iter(_made(work, bench, chains))
    samples = bench.options.samples
    keys = [[next(made) for _ in range(len(shard) * samples)] for shard in work.shards]
    decides = bench.basis(work)
    for store, shard, own in zip(work.stores, work.shards, keys, strict=True):
        if decides is not None:
            know_keys(store, decides, shard, own)
    return keys


def _made(work: Work, bench: Bench, chains: StoreByShard) -> list[str]:
    """Generate what the stores lack; all keys."""
    with uncollected():
        from powerblend.study.answers import complete

    return complete(
        work.spec,
        bench.model(work.spec),
        [problem for shard in work.shards for problem in shard],
        labels=work.labels,
        samples=bench.options.samples,
        rows=bench.options.rows,
        store=chains,
        speculate=bench.options.speculate,
        name=work.cell,
    )


def _known(work: Work, bench: Bench) -> list[list[str]] | None:
    """The keys of each shard's answers as they were written down, if all were."""
    decides = bench.basis(work)
    if decides is None:
        return None
    known = [known_keys(s, decides, p) for s, p in zip(work.stores, work.shards, strict=True)]
    return [keys for keys in known if keys is not None] if None not in known else None


def _with_beta(spec: CellSpec, options: argparse.Namespace) -> CellSpec:
    return spec if options.beta is None else spec.with_beta(read_json(options.beta)["beta"])


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
