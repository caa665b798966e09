"""What goes on between the steps, by rows, with a model that costs nothing: milliseconds a step.

Everything that is not on the device's own recorded path: chains that decide and propose, records
that are packed and loaded, suffixes that are copied, rows that are moved. On a GPU it overlaps the
next step. Here the operations that a GPU would carry out itself are in it, on a small cache.
"""

import time
from typing import Any

import torch
from bench import median, parser, side_by_side, write_table
from torch import Tensor

from powerblend.blends import Blend
from powerblend.engine.cache import RaggedCache
from powerblend.engine.laws import Logits
from powerblend.engine.rows import Feed
from powerblend.engine.sampling import Request, Run
from powerblend.samplers import parse_sampler

PROMPT = list(range(1, 257))
STEPS = 500


class Costless:
    """A language model that always says the same, and that no token ends."""

    eos_token_ids = frozenset([0])
    device = torch.device("cpu")

    def __init__(self, rows: int, vocabulary: int = 512) -> None:
        self._logits = torch.randn(rows, vocabulary, generator=torch.Generator().manual_seed(0))
        self._logits[:, 0] = -100.0

    def cache(self, slots: int, capacity: int, prefix: Tensor | None = None) -> RaggedCache:
        """A cache of one narrow layer."""
        return RaggedCache(1, slots, 1, capacity, 8, torch.float32, self.device, prefix)

    def prefill(self, cache: RaggedCache, slots: slice, start: Tensor, tokens: Tensor) -> None:
        """Nothing."""

    def prepare(self, cache: RaggedCache, feed: Feed, answered: Any) -> None:
        """Nothing."""

    def step(self, cache: RaggedCache, feed: Feed, blend: Blend | None) -> Logits:
        """The logits."""
        logits = self._logits[: len(feed.tokens)]
        return Logits(logits, logits)


def main() -> None:
    """Measure and write the table."""
    options = parser(__doc__)
    options.add_argument("--rows", type=int, nargs="+", default=[16, 64, 256])
    options.add_argument("--new", type=int, default=256, help="decoded tokens (default 256)")
    chosen = options.parse_args()
    table = []
    for rows in chosen.rows:
        runs = [side_by_side(host, 1, [(rows, chosen.new)])[0] for _ in range(chosen.repeats)]
        turns, seconds = (median(column) for column in zip(*runs, strict=True))
        table.append({"rows": rows, "turns a step": turns, "ms a step": 1e3 * seconds})
    write_table(
        "host",
        "Between the steps",
        table,
        f"One thread; power sampling, 8 blocks × 2 steps, {chosen.new} tokens after "
        f"{len(PROMPT)}; the first {STEPS} steps. A turn is a chain's decision and its next "
        f"proposal. Medians of {chosen.repeats}.",
    )


def host(rows: int, new: int) -> tuple[float, float]:
    """Turns and seconds of a step, beside the step itself, as means."""
    settings = {"sampler": "power", "alpha": 4.0, "blocks": 8, "steps": 2, "max_new_tokens": new}
    requests = [Request(PROMPT, str(number), 0) for number in range(rows)]
    run = Run(Costless(rows), requests, parse_sampler(settings), 0, rows)
    scheduler = run._scheduler(run._jobs)
    step, decide, stepping, turns = scheduler._step, scheduler._decide, 0.0, 0

    def timed(live: int, length: int) -> Tensor:
        nonlocal stepping
        started = time.perf_counter()
        outcome = step(live, length)
        stepping += time.perf_counter() - started
        return outcome

    def counted(*turn: Any) -> None:
        nonlocal turns
        turns += 1
        decide(*turn)

    steps = scheduler.run()
    next(steps)  # all rows are admitted in the first
    scheduler._step, scheduler._decide = timed, counted  # type: ignore[method-assign]
    started = time.perf_counter()
    for _ in range(STEPS):
        next(steps)
    return turns / STEPS, (time.perf_counter() - started - stepping) / STEPS


if __name__ == "__main__":
    main()
