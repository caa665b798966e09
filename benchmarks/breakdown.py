"""Where the time of a decode step goes, by rows: milliseconds of each part.

Power sampling of the demo's problems (α = 4, 64 tokens, 8 blocks × 2 steps) on one-thread processes
side by side. Only steps at which every row is at work are counted. A stopwatch around every part
costs a microsecond or two a call, of which a step makes some 600.
"""

import itertools
import time
from collections import Counter
from collections.abc import Callable
from functools import wraps
from typing import Any

from bench import demo_model, parser, prompts, rows_option, side_by_side, write_table
from step import flops_per_token, matrix_product

from powerblend import load_model, sample
from powerblend.engine import attention
from powerblend.engine.scheduler import Finished, Scheduler
from powerblend.engine.tiled_linear import Panelled, Tiled
from powerblend.samplers import Power

DECODING = {"sampler": "power", "alpha": 4.0, "max_new_tokens": 64, "blocks": 8, "steps": 2}
WARM_UP = 5
PARTS = PRODUCTS, HEAD, ATTENTION, REST, DRAW, BOOKS = (
    *("layers' products", "lm_head", "attention", "norms, rotation, gates", "draw", "books"),
)


class Enough(Exception):
    """All steps that were asked for are counted."""


class Stopwatch:
    """Seconds by part; a part that calls another does not count the other's time."""

    def __init__(self) -> None:
        self.seconds: Counter[str] = Counter()
        self._running: list[str] = []
        self._since = 0.0

    def around(self, part: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, on the watch."""

        @wraps(function)
        def timed(*args: Any, **options: Any) -> Any:
            self._switch(part)
            try:
                return function(*args, **options)
            finally:
                self._switch(None)

        return timed

    def _switch(self, part: str | None) -> None:
        now = time.perf_counter()
        if self._running:
            self.seconds[self._running[-1]] += now - self._since
        if part is None:
            self._running.pop()
        else:
            self._running.append(part)
        self._since = now


def main() -> None:
    """Measure and write the table."""
    options = parser(__doc__)
    rows_option(options, 1, 8, 32, 64, 128)
    options.add_argument("--steps", type=int, default=40, help="per repetition (default 40)")
    options.add_argument("--processes", type=int, default=2, help="of one thread (default 2)")
    chosen = options.parse_args()
    count = chosen.processes
    one_each, steps = [(chosen.repeats,)] * count, chosen.steps * chosen.repeats
    table, peaks = [], []
    for rows in chosen.rows:
        peaks.append(sum(side_by_side(matrix_product, 1, one_each)) / count)
        runs = side_by_side(breakdown, 1, [(rows, steps)] * count)
        parts = {part: sum(run[part] for run in runs) / count for part in PARTS}
        total = sum(parts.values())
        floor = 1e3 * rows * flops_per_token() / peaks[-1]
        table.append({"rows": rows, **parts, "step": total, "floor": floor})
        table[-1]["tokens/s"] = 1e3 * rows * count / total
    write_table(
        "breakdown",
        "Milliseconds of a decode step",
        table,
        f"{count} one-thread processes. The floor is the weights' products at the speed of a "
        f"large one in float32: {min(peaks) / 1e9:.0f} to {max(peaks) / 1e9:.0f} GFLOP/s in each. "
        f"Books: proposals, decisions, and the cache's copies. Means of {steps} steps.",
    )


def breakdown(rows: int, steps: int) -> dict[str, float]:
    """Milliseconds of a step by part, as means."""
    model, watch = load_model(demo_model()), Stopwatch()
    # The loop alone is called where heads are rotated into the cache.
    attention.attend = watch.around(ATTENTION, attention.attend)
    attention.attended = watch.around(ATTENTION, attention.attended)
    for module in model.decoder_layers.modules():
        if isinstance(module, Panelled | Tiled):
            module.forward = watch.around(PRODUCTS, module.forward)
    model._head.forward = watch.around(HEAD, model._head.forward)
    model.step = watch.around(REST, model.step)  # type: ignore[method-assign]
    Power.draw = watch.around(DRAW, Power.draw)  # type: ignore[method-assign]
    advance, full = watch.around(BOOKS, Scheduler._advance), itertools.count(1)
    seconds: Counter[str] = Counter()

    def counted(scheduler: Scheduler) -> list[Finished]:
        watch.seconds.clear()
        live = scheduler.tally.decoded_tokens
        finished: list[Finished] = advance(scheduler)
        if scheduler.tally.decoded_tokens - live == rows and (step := next(full)) > WARM_UP:
            seconds.update(watch.seconds)
            if step == WARM_UP + steps:
                raise Enough
        return finished

    Scheduler._advance = counted  # type: ignore[method-assign]
    try:
        sample(model, prompts(104), DECODING, samples=2 + rows // 16, rows=rows, speculate="off")
    except Enough:
        return {part: 1e3 * seconds[part] / steps for part in PARTS}
    raise RuntimeError(f"there were fewer than {steps} steps with all of {rows} rows at work")


if __name__ == "__main__":
    main()
