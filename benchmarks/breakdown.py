"""Where the time of a decode step goes, by rows: milliseconds of each part.

Power sampling of the demo's problems (α = 4, 64 tokens, 8 blocks × 2 steps) on one-thread processes
side by side. Only steps at which every row is at work are counted. The layers' loops are run as one
call, in which the processor's own clock is read before and after each.
"""

import itertools
import time
from collections import Counter
from collections.abc import Callable
from functools import cache, wraps
from typing import Any

import numpy as np
import torch
from bench import demo_model, parser, prompts, rows_option, side_by_side, write_table
from llvmlite import ir
from step import flops_per_token, matrix_product

from powerblend import load_model, sample
from powerblend.engine import compiled_rows, panel_product
from powerblend.engine.compiled_calls import Compiled, Recording
from powerblend.engine.compiler import Code, compiled
from powerblend.engine.scheduler import Finished, Scheduler
from powerblend.samplers import Power

DECODING = {"sampler": "power", "alpha": 4.0, "max_new_tokens": 64, "blocks": 8, "steps": 2}
WARM_UP = 5
PARTS = PRODUCTS, HEAD, ATTENTION, REST, DRAW, BOOKS = (
    *("layers' products", "lm_head", "attention", "norms, rotation, gates", "draw", "books"),
)

LOOPS = {
    (panel_product, "_compiled"): PRODUCTS,
    (compiled_rows, "_attention"): ATTENTION,
    **{(compiled_rows, name): REST for name in ("_norm", "_gate", "_add", "_placed")},
}
"""What compiles the layers' loops."""


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

    def spent(self, seconds: float, shares: dict[str, float]) -> None:
        """Count time that has just passed as that of these parts, and not of the one under way."""
        self.seconds.update({part: share * seconds for part, share in shares.items()})
        self._since += seconds

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
    watch = Stopwatch()
    look_into_recordings(watch)
    model = load_model(demo_model())
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


def look_into_recordings(watch: Stopwatch) -> None:
    """Let recorded loops be counted one by one."""
    parts: dict[int, str] = {}

    def noting(compile_loop: Callable[..., Compiled], part: str) -> Callable[..., Compiled]:
        @cache
        def compile_and_note(*kind: Any) -> Compiled:
            loop = compile_loop(*kind)
            parts[loop._place_from_words] = part
            return loop

        return compile_and_note

    for (module, name), part in LOOPS.items():
        setattr(module, name, noting(getattr(module, name), part))
    caller = timed_caller()
    run = Recording.run

    def timed(recording: Recording, rows: int) -> None:
        ticks = np.zeros(len(recording._words), np.int64)
        recording._caller = lambda records, *sizes: caller(
            [*records, torch.from_numpy(ticks)], *sizes
        )
        started = time.perf_counter()
        run(recording, rows)
        seconds, of_parts = time.perf_counter() - started, Counter[str]()
        for record, count in zip(recording._words, ticks, strict=True):
            of_parts[parts[int(record[0])]] += int(count)
        watch.spent(seconds, {part: n / of_parts.total() for part, n in of_parts.items()})

    Recording.run = timed  # type: ignore[method-assign]


def timed_caller() -> Compiled:
    """As `compiler.caller`, which also adds the ticks of a clock to a number for each record."""
    code = Code(torch.float32)
    kinds = [*2 * [code.integers], *2 * [code.integer]]
    records, ticks, count, size = code.function("main", kinds).args
    build = code.build
    kind = ir.FunctionType(ir.VoidType(), [code.integers]).as_pointer()
    clock = ir.Function(code.module, ir.FunctionType(code.integer, []), "llvm.readcyclecounter")
    with code.loop(code.integer(0), count, code.integer(1)) as (number, _, _):
        record, place = code.at(records, code.times(number, size)), code.at(ticks, number)
        before = build.call(clock, [])
        build.call(build.inttoptr(build.load(record), kind), [code.at(record, 1)])
        build.store(build.sub(build.call(clock, []), before), place)
    build.ret_void()
    return compiled(code, 2, 2)


if __name__ == "__main__":
    main()
