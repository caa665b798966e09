"""Whether a long generate job keeps its pace and its memory, over tens of thousands of chains.

A random model of two layers makes a chain cheap, so that minutes hold as many of them as hours of a
real one: what is left is the work that goes on around the model, from the prompt to the store.
"""

import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil
import torch
from bench import ROOT, parser, write_table

from powerblend import Model, load_model
from powerblend.engine import REVISION
from powerblend.infrastructure.files import write_jsonl
from powerblend.study.answers import answer
from powerblend.study.store import ChainStore
from powerblend.vocabulary.problem import Problem
from powerblend.vocabulary.specs import CellSpec

PARTS = 10
ROWS = 64
DECODING = {"sampler": "power", "alpha": 2.0, "max_new_tokens": 16, "blocks": 4, "steps": 1}
SPEC = CellSpec.model_validate(
    {
        "engine": REVISION,
        "model": {"name": "model"},
        "dataset": {"name": "data.jsonl"},
        "prompt": {"template": "{problem}"},
        "seed": 0,
        "decoding": DECODING | {"blend": {"source": "layer", "layer": 0, "beta": 0.1}},
    }
)


class WatchedStore(ChainStore):
    """A store that notes processor time and memory after each part of ``total`` chains."""

    def __init__(self, path: Path, total: int) -> None:
        super().__init__(path)
        self._total, self._chains, self._process = total, 0, psutil.Process()
        self._since, self.parts = time.process_time(), list[dict[str, Any]]()

    def add(self, record: Mapping[str, Any]) -> None:
        """Store a chain; after the last of a part, note how that part went."""
        super().add(record)
        self._chains += 1
        if self._chains * PARTS >= (len(self.parts) + 1) * self._total:
            self._note()

    def _note(self) -> None:
        now = time.process_time()
        chains = self._chains - sum(part["chains"] for part in self.parts)
        self.parts.append(
            {
                "part": f"{len(self.parts) + 1} of {PARTS}",
                "chains": chains,
                "chains per CPU second": chains / (now - self._since),
                "resident MiB": self._process.memory_info().rss / 2**20,
            }
        )
        self._since = now


def main() -> None:
    """Measure and write the table."""
    options = parser(__doc__, repeats=1)
    options.add_argument("--problems", type=int, default=1000, help="(default 1000)")
    options.add_argument("--samples", type=int, default=20, help="per problem (default 20)")
    chosen = options.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        parts = soak(Path(folder), chosen.problems, chosen.samples)
        minutes = (time.perf_counter() - started) / 60
    speeds = [part["chains per CPU second"] for part in parts]
    growth = parts[-1]["resident MiB"] - parts[0]["resident MiB"]
    write_table(
        "soak",
        "A long job",
        parts,
        f"{chosen.problems} problems × {chosen.samples} samples in {minutes:.1f} minutes, one "
        f"thread, {ROWS} rows. From the first part to the last the memory grew by {growth:.1f} "
        f"MiB; the slowest part ran at {min(speeds) / max(speeds):.0%} of the speed of the "
        "fastest. The job holds its prompts from the start, and of each finished chain the place "
        "of its record.",
    )


def soak(folder: Path, problems: int, samples: int) -> list[dict[str, Any]]:
    """How each part of one generate job went."""
    store = WatchedStore(folder / "chains" / "shard.jsonl", problems * samples)
    records = answer(
        SPEC,
        model(folder / "model"),
        [Problem(f"What is {n} + {n + 1}?", str(2 * n + 1), f"sums/{n}") for n in range(problems)],
        labels={},
        samples=samples,
        rows=ROWS,
        store=store,
    )
    write_jsonl(folder / "records.jsonl", (record.model_dump() for record in records))
    store.close()
    return store.parts


def model(directory: Path) -> Model:
    """The random model of the tests, with its tokenizer of characters."""
    sys.path.append(str(ROOT / "tests"))
    import tiny

    return load_model(tiny.save(directory, num_hidden_layers=2))


if __name__ == "__main__":
    main()
