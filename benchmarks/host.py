"""What goes on between the steps, by rows, with a model that costs nothing.

Everything that is not on the device's own recorded path: chains that decide and propose, records
that are packed and loaded, suffixes that are copied. The operations that it asks of the device are
counted; here they are part of the time, on a small cache.

On a GPU all this overlaps the next step. How much would not is told by the clock of a device whose
steps take ``--device-ms``, and which waits for the host wherever the host is late: by default those
of an H100 with Qwen3-4B's architecture, all rows at rest (benchmarks/gpu.py). What it takes to
replay a recorded step, and the device's own copies, are in neither.
"""

import time
from collections import deque
from typing import Any, NamedTuple

import torch
from bench import median, parser, rows_option, side_by_side, write_table
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from powerblend.api.generation import Request, Run
from powerblend.blends import Blend
from powerblend.engine.batch import StepInputs
from powerblend.engine.cache import RaggedCache
from powerblend.engine.chain import Trace
from powerblend.engine.distributions import Logits
from powerblend.engine.scheduler import STEPS_AHEAD, Launched, Scheduler, Slot
from powerblend.samplers import parse_sampler

PROMPT = list(range(1, 257))
STEPS = 500
VOCABULARY = 512


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
    own_lengths = True
    block_size = 1  # it has logits for one token a row

    def __init__(self, rows: int) -> None:
        self._logits = torch.randn(rows, VOCABULARY, generator=torch.Generator().manual_seed(0))
        self._logits[:, 0] = -100.0

    def cache(self, slots: int, capacity: int, prefix: Tensor | None = None) -> RaggedCache:
        """A cache of one narrow layer."""
        return RaggedCache(1, slots, 1, capacity, 8, torch.float32, self.device, prefix)

    def prefill(self, cache: RaggedCache, slots: slice, start: Tensor, tokens: Tensor) -> None:
        """Nothing."""

    def prepare(self, cache: RaggedCache, inputs: StepInputs, answer_lengths: Any) -> None:
        """Nothing."""

    def step(self, cache: RaggedCache, inputs: StepInputs, blend: Blend | None) -> Logits:
        """The logits."""
        logits = self._logits[: len(inputs.tokens)]
        return Logits(logits, logits)


class Between(NamedTuple):
    """What there is a step, as means: turns, the host's seconds, and operations of the device.

    ``lost`` is the share of the time in which the device waits for the host.
    """

    turns: float
    seconds: float
    lost: float
    operations: float


class Watched:
    """A scheduler on the clocks of a host and of a device, which each do one thing at a time.

    The host's stands still while it carries out here what the device would do, and goes forward to
    an outcome's arrival where it waits for that. All times are in seconds.
    """

    def __init__(self, scheduler: Scheduler, takes: float, operations: Operations) -> None:
        self.turns, self.waited, self.device = 0, 0.0, 0.0
        self._takes, self._operations = takes, operations
        self._arrivals = deque([0.0])  # of the step that was launched before
        self._actual = scheduler._step, scheduler._settle, scheduler._decide
        watched: Any = scheduler
        watched._step, watched._settle, watched._decide = self._step, self._settle, self._decide
        operations.count, self._origin = 0, time.perf_counter()

    @property
    def host(self) -> float:
        """The time at the host."""
        return time.perf_counter() - self._origin

    def _step(self, live: int, length: int, width: int) -> Tensor:
        started, count = time.perf_counter(), self._operations.count
        outcome = self._actual[0](live, length, width)
        self._operations.count = count
        self._origin += time.perf_counter() - started
        self.device = max(self.host, self.device) + self._takes
        self._arrivals.append(self.device)
        return outcome

    def _settle(self, launched: Launched) -> list[Slot]:
        wait = max(0.0, self._arrivals.popleft() - self.host)
        self._origin -= wait
        self.waited += wait
        return self._actual[1](launched)

    def _decide(self, slot: Slot, suffix: Trace) -> None:
        self.turns += 1
        self._actual[2](slot, suffix)


def main() -> None:
    """Measure and write the table."""
    options = parser(__doc__)
    rows_option(options, 16, 64, 256)
    options.add_argument(
        "--device-ms",
        type=float,
        nargs="+",
        default=[6.4, 8.1, 15.4],
        help="of a step, one for each of --rows (default 6.4 8.1 15.4)",
    )
    options.add_argument("--new", type=int, default=256, help="decoded tokens (default 256)")
    chosen = options.parse_args()
    if len(chosen.device_ms) != len(chosen.rows):
        options.error(f"--device-ms: give {len(chosen.rows)} of them, as many as --rows")
    table = []
    for rows, takes in zip(chosen.rows, chosen.device_ms, strict=True):
        cases = [(rows, chosen.new, 1e-3 * takes)]
        runs = [side_by_side(between, 1, cases)[0] for _ in range(chosen.repeats)]
        turns, seconds, lost, operations = (median(column) for column in zip(*runs, strict=True))
        table.append(
            {
                "rows": rows,
                "turns a step": turns,
                "operations a step": operations,
                "host, ms a step": 1e3 * seconds,
                "device, ms a step": takes,
                "lost": lost,
            }
        )
    write_table(
        "host",
        "Between two steps",
        table,
        f"One thread; power sampling, 8 blocks × 2 steps, {chosen.new} tokens after "
        f"{len(PROMPT)}; the first {STEPS} steps. A turn is a chain's decision and its next "
        "proposal. The operations are those asked of the device, but for copies from the host, of "
        "which there are at most two a step. Lost is the share of the time in which a device of "
        f"such steps would wait for the host. Medians of {chosen.repeats}.",
    )


def between(rows: int, new: int, takes: float) -> Between:
    """What goes on beside the steps of a device that takes so many seconds for each."""
    STEPS_AHEAD["cpu"] = STEPS_AHEAD["cuda"]
    with Operations() as operations:
        counted = run(rows, new, takes, operations)
    return run(rows, new, takes, Operations())._replace(operations=counted.operations)


def run(rows: int, new: int, takes: float, operations: Operations) -> Between:
    """Watch the steps that follow the first, in which all rows are admitted."""
    settings = {"sampler": "power", "alpha": 4.0, "blocks": 8, "steps": 2, "max_new_tokens": new}
    requests = [Request(PROMPT, str(number), 0) for number in range(rows)]
    batch = Run(Costless(rows), requests, parse_sampler(settings), 0, rows)
    scheduler = batch._scheduler(batch._jobs)
    steps = scheduler.run()
    next(steps, None)
    watched = Watched(scheduler, takes, operations)
    if any(next(steps, None) is None for _ in range(STEPS)):
        raise SystemExit(f"all chains were done in {STEPS} steps: decode more tokens with --new")
    end = watched.host
    return Between(
        turns=watched.turns / STEPS,
        seconds=(end - watched.waited) / STEPS,
        lost=1 - STEPS * takes / max(end, watched.device),
        operations=operations.count / STEPS,
    )


if __name__ == "__main__":
    main()
