"""What goes on between the steps, by rows, with a model that costs nothing.

Everything that is not on the device's own recorded path: chains that decide and propose, records
that are packed and loaded, suffixes that are copied. On a GPU it overlaps the next step, but for
the operations that are asked of the device, which wait their turn there and are counted; here they
are part of the time, on a small cache.
"""

import time
from typing import Any, NamedTuple

import torch
from bench import median, parser, side_by_side, write_table
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from powerblend.blends import Blend
from powerblend.engine.cache import RaggedCache
from powerblend.engine.laws import Logits
from powerblend.engine.rows import Feed
from powerblend.engine.sampling import Request, Run
from powerblend.samplers import parse_sampler

PROMPT = list(range(1, 257))
STEPS = 500


class Operations(TorchDispatchMode):
    """Counts what is asked of the device; views cost it nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(
        self, function: Any, _types: Any, given: Any = (), named: Any = None
    ) -> Any:
        self.count += not function.is_view
        return function(*given, **(named or {}))


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


class Between(NamedTuple):
    """What there is a step, as means: turns, seconds, and operations asked of the device."""

    turns: float
    seconds: float
    operations: float


def main() -> None:
    """Measure and write the table."""
    options = parser(__doc__)
    options.add_argument("--rows", type=int, nargs="+", default=[16, 64, 256])
    options.add_argument("--new", type=int, default=256, help="decoded tokens (default 256)")
    chosen = options.parse_args()
    table = []
    for rows in chosen.rows:
        runs = [side_by_side(between, 1, [(rows, chosen.new)])[0] for _ in range(chosen.repeats)]
        turns, seconds, operations = (median(column) for column in zip(*runs, strict=True))
        table.append(
            {
                "rows": rows,
                "turns a step": turns,
                "ms a step": 1e3 * seconds,
                "operations a step": operations,
            }
        )
    write_table(
        "host",
        "Between two steps",
        table,
        f"One thread; power sampling, 8 blocks × 2 steps, {chosen.new} tokens after "
        f"{len(PROMPT)}; the first {STEPS} steps. A turn is a chain's decision and its next "
        "proposal. The operations are those asked of the device, but for copies from the host, of "
        f"which there are at most two a step. Medians of {chosen.repeats}.",
    )


def between(rows: int, new: int) -> Between:
    """What goes on beside the steps themselves."""
    seconds, turns = run(rows, new)
    with Operations() as operations:
        run(rows, new, operations)
    return Between(turns / STEPS, seconds / STEPS, operations.count / STEPS)


def run(rows: int, new: int, operations: Operations | None = None) -> tuple[float, int]:
    """Seconds that the steps did not take, and turns."""
    settings = {"sampler": "power", "alpha": 4.0, "blocks": 8, "steps": 2, "max_new_tokens": new}
    requests = [Request(PROMPT, str(number), 0) for number in range(rows)]
    batch = Run(Costless(rows), requests, parse_sampler(settings), 0, rows)
    scheduler = batch._scheduler(batch._jobs)
    step, decide, stepping, turns = scheduler._step, scheduler._decide, 0.0, 0

    def timed(live: int, length: int) -> Tensor:
        nonlocal stepping
        started, count = time.perf_counter(), operations.count if operations else 0
        outcome = step(live, length)
        stepping += time.perf_counter() - started
        if operations:
            operations.count = count
        return outcome

    def counted(*turn: Any) -> None:
        nonlocal turns
        turns += 1
        decide(*turn)

    steps = scheduler.run()
    next(steps)  # all rows are admitted in the first
    scheduler._step, scheduler._decide = timed, counted  # type: ignore[method-assign]
    if operations:
        operations.count = 0
    started = time.perf_counter()
    for _ in range(STEPS):
        next(steps)
    return time.perf_counter() - started - stepping, turns


if __name__ == "__main__":
    main()
