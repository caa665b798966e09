"""Where the time of a decode step goes on a GPU, by rows: milliseconds of each part's kernels.

Steps of power sampling with Qwen3-4B's architecture at random weights, in bfloat16, all rows at
rest, as benchmarks/gpu.py times them, at half of its answers' length. They are not recorded: a
kernel is counted to the part whose code launched it. Between kernels a device waits too, which is
what a recorded step takes beyond the sum. ``--device cpu --layers 2`` tries it out anywhere, with
the time of torch's operations.
"""

import argparse
import json
import math
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Any, NamedTuple

import torch
from bench import parser, rows_option, write_table
from gpu import ALPHA, bandwidth, on_device, products, random_model, step_floor, synchronize
from torch import nn
from torch.profiler import ProfilerActivity, profile, record_function

from powerblend import Model, load_model
from powerblend.api.generation import Request, Run
from powerblend.engine import attention, cuda_graphs
from powerblend.engine.scheduler import Scheduler
from powerblend.engine.tiled_linear import Panelled, Tiled
from powerblend.samplers import Power, parse_sampler

WARM_UP = 3
PARTS = PRODUCTS, HEAD, ATTENTION, SMALL, DRAW, REST = (
    *("layers' products", "lm_head", "attention", "norms, rotation, residuals", "draw", "rest"),
)
ON_DEVICE = ("kernel", "gpu_memcpy", "gpu_memset")
LAUNCHES = ("cuda_runtime", "cuda_driver")
"""What a trace calls the device's work, and the calls of the host that asked for it."""


class Work(NamedTuple):
    """A kernel or an operation: when the host asked for it, and how long it took; microseconds."""

    asked: float
    duration: float


class Range(NamedTuple):
    """When the host was in the code of a part, in microseconds."""

    start: float
    stop: float
    part: str


class Breakdown(NamedTuple):
    """Milliseconds of a step by part, and the kernels or operations that it is."""

    parts: dict[str, float]
    count: float


def main() -> None:
    """Measure and write the table."""
    options = parser(__doc__, repeats=10)
    rows_option(options, 16, 64, 256)
    options.add_argument("--prompt", type=int, default=384, help="prompt tokens (default 384)")
    options.set_defaults(new=0)
    chosen = on_device(options)
    hf = random_model(chosen.layers, chosen.device)
    copied, multiplied = bandwidth(chosen.device), products(chosen.device)
    table = []
    for rows in chosen.rows:
        floor = 1e3 * step_floor(hf, rows, chosen, copied, multiplied)
        measured = breakdown(load_model(hf, eos_token_ids=[0]), rows, chosen)
        total = sum(measured.parts.values())
        shown = {"kernels": measured.count, "sum": total, "floor": floor}
        table.append({"rows": rows, **measured.parts, **shown})
    write_table(
        "gpu_breakdown",
        "Milliseconds of a decode step on a GPU",
        table,
        f"Qwen3-4B's architecture with {chosen.layers} layers at random weights, after "
        f"{chosen.prompt} tokens, on {chosen.device}; a large copy ran at {copied / 1e9:.0f} GB/s, "
        f"a large product at {multiplied / 1e12:.1f} TFLOP/s. Means of {chosen.repeats} steps.",
    )


def breakdown(model: Model, rows: int, chosen: argparse.Namespace) -> Breakdown:
    """Profile steps of so many rows at rest."""
    with in_ranges(model):
        scheduler = started(model, rows, chosen.prompt)
        live, length = len(scheduler._slots), int(scheduler._positions.max())

        def step() -> None:
            with record_function(REST):
                scheduler._step(live, length, 1)

        with torch.inference_mode(), scheduler._batch.at_rest():
            trace = traced(step, chosen.repeats, chosen.device)
    works = kernels(trace) if chosen.device == "cuda" else operations(trace)
    microseconds = by_part(ranges(trace), works)
    parts = {part: microseconds[part] / 1e3 / chosen.repeats for part in PARTS}
    return Breakdown(parts, len(works) / chosen.repeats)


def started(model: Model, rows: int, prompt: int) -> Scheduler:
    """A batch of random prompts whose answers have begun."""
    settings = {"sampler": "power", "alpha": ALPHA, "blocks": 8, "steps": 2, "max_new_tokens": 64}
    prompts = torch.randint(0, model.vocabulary, (rows, prompt)).tolist()
    requests = [Request(tokens, str(i), i) for i, tokens in enumerate(prompts)]
    run = Run(model, requests, parse_sampler(settings), 0, rows)
    scheduler = run._scheduler(run._jobs)
    next(scheduler.run(), None)
    return scheduler


@contextmanager
def in_ranges(model: Model) -> Iterator[None]:
    """Within, a step is not recorded, and the host is in a part's range while in its code."""
    kinds = nn.Linear | Tiled | Panelled
    maps = [module for module in model.decoder_layers.modules() if isinstance(module, kinds)]
    code: list[tuple[Any, str, str]] = [(module, "forward", PRODUCTS) for module in maps]
    code += [(model._head, "forward", HEAD), (model, "step", SMALL), (Power, "draw_rows", DRAW)]
    names = ("attend", "_attend_to_written", "attended")
    code += [(attention, name, ATTENTION) for name in names]
    before = [(owner, name, getattr(owner, name)) for owner, name, _ in code]
    before.append((cuda_graphs, "pays_on", cuda_graphs.pays_on))
    try:
        for owner, name, part in code:
            setattr(owner, name, _in_range(part, getattr(owner, name)))
        cuda_graphs.pays_on = lambda device: False
        yield
    finally:
        for owner, name, function in before:
            setattr(owner, name, function)


def _in_range(part: str, function: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(function)
    def ranged(*args: Any, **options: Any) -> Any:
        with record_function(part):
            return function(*args, **options)

    return ranged


def traced(step: Callable[[], None], repeats: int, device: str) -> list[dict[str, Any]]:
    """The events of so many steps, in the format of Chrome's traces."""
    for _ in range(WARM_UP):
        step()
    synchronize()
    activities = [ProfilerActivity.CPU]
    if device == "cuda":
        activities.append(ProfilerActivity.CUDA)
    with profile(activities=activities) as profiler:
        for _ in range(repeats):
            step()
        synchronize()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trace.json"
        profiler.export_chrome_trace(str(path))
        events: list[dict[str, Any]] = json.loads(path.read_text())["traceEvents"]
    return [event for event in events if event.get("ph") == "X"]


def ranges(trace: Iterable[dict[str, Any]]) -> list[Range]:
    """When the host was where."""
    marked = [e for e in trace if e.get("cat") == "user_annotation" and e["name"] in PARTS]
    return [Range(e["ts"], e["ts"] + e["dur"], e["name"]) for e in marked]


def kernels(trace: Iterable[dict[str, Any]]) -> list[Work]:
    """What the device did, asked for by the call of the host that has the same number."""
    asked, done = dict[int, float](), list[tuple[int, float]]()
    for event in trace:
        number = event.get("args", {}).get("correlation")
        if event.get("cat") in LAUNCHES:
            asked[number] = event["ts"]
        if event.get("cat") in ON_DEVICE:
            done.append((number, event["dur"]))
    # What has no call counts to the rest, behind all parts.
    return [Work(asked.get(number, math.inf), duration) for number, duration in done]


def operations(trace: Iterable[dict[str, Any]]) -> list[Work]:
    """What torch did on the CPU: operations that are no part of another."""
    found, end = list[Work](), 0.0
    for event in sorted((e for e in trace if e.get("cat") == "cpu_op"), key=lambda e: e["ts"]):
        if event["ts"] >= end:
            found.append(Work(event["ts"], event["dur"]))
            end = event["ts"] + event["dur"]
    return found


def by_part(within: Iterable[Range], works: Iterable[Work]) -> Counter[str]:
    """Microseconds by the innermost range in which they were asked for."""
    starts = [(each.start, 0, each) for each in within]
    asked = [(work.asked, 1, work) for work in works]
    microseconds, entered = Counter[str](), list[Range]()
    for now, _, event in sorted(starts + asked, key=lambda e: e[:2]):
        while entered and entered[-1].stop <= now:
            entered.pop()
        if isinstance(event, Range):
            entered.append(event)
        else:
            microseconds[entered[-1].part if entered else REST] += event.duration
    return microseconds


if __name__ == "__main__":
    main()
