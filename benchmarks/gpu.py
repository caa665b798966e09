"""Decoded tokens per second on a GPU by rows, against Hugging Face ``generate`` and the hardware.

Qwen3-4B's architecture at random weights, in bfloat16, without EOS: speed does not depend on what
the weights are. The floor of a step is the longer of two times: reading every weight and every
row's keys and values once at the speed of a large copy, and the multiplications at the speed of a
large product, both measured in the same run. What decisions cost shows in a power sampling run: its
steps, with their decisions, against the same steps of rows at rest, on which nothing is decided;
and what of a step the host is at work for, most of which overlaps the device's. Guesses of next
tokens are right where text repeats itself, at random weights by the exponent alone: the power
sampling runs with and without them have their own (``--guessed-alpha``), and say how many were.
``--device cpu --layers 2`` tries it out anywhere, where the host's time is all of it.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from bench import median, parser, rows_option, write_table
from transformers import AutoConfig, AutoModelForCausalLM

from powerblend import Model, load_model, sample
from powerblend.api.generation import Request, Run
from powerblend.engine import cuda_graphs
from powerblend.engine.scheduler import Scheduler, Speculation
from powerblend.engine.transfers import Download
from powerblend.samplers import parse_sampler

ALPHA = 4.0
STRETCH = 16
"""Steps between two looks at what one costs without the host."""

QWEN3_4B = {
    "vocab_size": 151_936,
    "hidden_size": 2560,
    "intermediate_size": 9728,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "rms_norm_eps": 1e-6,
    "tie_word_embeddings": True,
    "max_position_embeddings": 40_960,
}


def main() -> None:
    """Measure and write the table."""
    options = parser(__doc__)
    rows_option(options, 16, 64, 256)
    options.add_argument("--prompt", type=int, default=256, help="prompt tokens (default 256)")
    options.add_argument("--new", type=int, default=256, help="decoded tokens (default 256)")
    options.add_argument(
        "--guessed-alpha", type=float, default=8.0, help="of runs with guesses (default 8)"
    )
    chosen = on_device(options)
    hf = random_model(chosen.layers, chosen.device)
    copied, multiplied = bandwidth(chosen.device), products(chosen.device)
    table = []
    for rows in chosen.rows:
        prompts = torch.randint(100, 150_000, (rows, chosen.prompt), device=chosen.device)
        ours = rows * chosen.new / seconds(lambda n, p=prompts: powerblend(hf, p, n), chosen)
        theirs = rows * chosen.new / seconds(lambda n, p=prompts: hugging_face(hf, p, n), chosen)
        floor = rows / step_floor(hf, rows, chosen, copied, multiplied)
        model = load_model(hf, eos_token_ids=[0])
        power = power_step(model, prompts, chosen)
        plain, guessed = (power_run(model, prompts, chosen, s) for s in ("off", "auto"))
        table.append(
            {
                "rows": rows,
                "powerblend, tokens/s": ours,
                "HF generate, tokens/s": theirs,
                "ratio": ours / theirs,
                "floor": floor,
                "of the floor": ours / floor,
                "power sampling, ms a step": 1e3 * power.whole,
                "decisions": 1 - power.bare / power.whole,
                "host at work": power.host / power.whole,
                "ps, tokens/s": plain.tokens_per_second,
                "ps with guesses": guessed.tokens_per_second,
                "faster by": guessed.tokens_per_second / plain.tokens_per_second,
                "passes": guessed.passes,
                "guesses right": guessed.right,
            }
        )
        del model  # its weights, merged, are another model's in the next round
    write_table(
        "gpu",
        "Decoded tokens per second on a GPU",
        table,
        f"Qwen3-4B's architecture with {chosen.layers} layers at random weights, {chosen.new} "
        f"tokens after {chosen.prompt}; a large copy ran at {copied / 1e9:.0f} GB/s, a large "
        f"product at {multiplied / 1e12:.1f} TFLOP/s. Medians of {chosen.repeats}, without "
        f"guesses. The last columns are one run each at exponent {chosen.guessed_alpha:g}, to its "
        "last chain and without the time of recording; passes are of decoded tokens. "
        f"Recorded steps: {'yes' if cuda_graphs.pays_on(torch.device(chosen.device)) else 'no'}.",
    )


def on_device(options: argparse.ArgumentParser) -> argparse.Namespace:
    """What is chosen, the device and the model's layers too; an error where there is no GPU."""
    options.add_argument("--device", default="cuda", choices=["cuda", "cpu"], help="(default cuda)")
    options.add_argument("--layers", type=int, default=36, help="(default 36)")
    chosen = options.parse_args()
    if chosen.device == "cuda" and not torch.cuda.is_available():
        options.error("there is no GPU; try it out with --device cpu --layers 2")
    return chosen


def random_model(layers: int, device: str) -> Any:
    """The architecture, with weights that nobody trained."""
    config = AutoConfig.for_model("qwen3", **QWEN3_4B, num_hidden_layers=layers)
    torch.manual_seed(0)
    with torch.device(device):
        return AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16).eval()


def powerblend(hf: Any, prompts: torch.Tensor, new: int) -> None:
    """The engine, which no token ends: id 0 is all but impossible to draw from random weights."""
    model = load_model(hf, eos_token_ids=[0])
    decoding = {"sampler": "temperature", "alpha": ALPHA, "max_new_tokens": new}
    sample(model, prompts.tolist(), decoding, rows=len(prompts), speculate="off")


class PowerStep(NamedTuple):
    """Seconds of a step with all rows at work, with all at rest, and of the host's own work.

    At rest a step is the same work for the device, over the same keys, and nothing is decided.
    """

    whole: float
    bare: float
    host: float


def power_step(model: Model, prompts: torch.Tensor, chosen: argparse.Namespace) -> PowerStep:
    """A step of power sampling, up to the first chain that is done, as means."""
    settings = {"sampler": "power", "alpha": ALPHA, "blocks": 8, "steps": 2}
    sampler = parse_sampler({**settings, "max_new_tokens": chosen.new})
    requests = [Request(prompt, str(i), i) for i, prompt in enumerate(prompts.tolist())]
    for _ in range(2):  # a long job has long had the memory for its suffixes
        run = Run(model, requests, sampler, 0, len(prompts), "off")
        measured = stretches(run._scheduler(run._jobs))
    if not measured:
        raise SystemExit(f"a chain was done within {STRETCH} steps: decode more tokens with --new")
    return PowerStep(*map(statistics.mean, zip(*measured, strict=True)))


def stretches(scheduler: Scheduler) -> list[PowerStep]:
    """A step's times over every `STRETCH` of them, until a chain is done."""
    steps, measured = scheduler.run(), []
    for _ in range(2):  # in the first it is recorded; the second has an outcome to look at
        next(steps, None)
    with timed(Download, "wait") as waits:
        while True:
            waits.clear()
            started = time.perf_counter()
            for _ in range(STRETCH):
                next(steps, None)
            host = time.perf_counter() - started - sum(waits)
            synchronize()
            whole = time.perf_counter() - started
            if scheduler.tally.chains:
                return measured
            live, length = len(scheduler._slots), int(scheduler._positions.max())
            with torch.inference_mode(), scheduler._batch.at_rest():
                bare = _median(lambda n=(live, length, 1): scheduler._step(*n), 5)
            measured.append(PowerStep(whole / STRETCH, bare, host / STRETCH))


class PowerRun(NamedTuple):
    """Of a power sampling run: its speed, its passes of a token, and the share of right guesses."""

    tokens_per_second: float
    passes: float
    right: float


def power_run(
    model: Model, prompts: torch.Tensor, chosen: argparse.Namespace, speculate: Speculation
) -> PowerRun:
    """All chains from the first token to the last."""
    settings = {"sampler": "power", "alpha": chosen.guessed_alpha, "blocks": 8, "steps": 2}
    sampler = parse_sampler({**settings, "max_new_tokens": chosen.new})
    requests = [Request(prompt, str(i), i) for i, prompt in enumerate(prompts.tolist())]
    run = Run(model, requests, sampler, 0, len(prompts), speculate)
    with timed(cuda_graphs, "record") as recording:
        started = time.perf_counter()
        passes = sum(answer.passes for finished in run.steps() for _, answer in finished)
        synchronize()
        taken = time.perf_counter() - started - sum(recording)
    tally = run.tally
    right = tally.guessed_right / max(1, tally.guessed)
    return PowerRun(tally.decoded_tokens / taken, passes / tally.decoded_tokens, right)


@contextmanager
def timed(owner: Any, name: str) -> Iterator[list[float]]:
    """Collect the seconds that calls of a function or method take, as those of the host's waits."""
    call, seconds = getattr(owner, name), list[float]()

    def watched(*given: Any) -> Any:
        started = time.perf_counter()
        made = call(*given)
        seconds.append(time.perf_counter() - started)
        return made

    setattr(owner, name, watched)
    try:
        yield seconds
    finally:
        setattr(owner, name, call)


def hugging_face(hf: Any, prompts: torch.Tensor, new: int) -> None:
    """``generate`` with full support."""
    settings: dict[str, Any] = {"temperature": 1 / ALPHA, "top_k": 0, "top_p": 1.0}
    hf.generate(
        prompts,
        attention_mask=torch.ones_like(prompts),
        do_sample=True,
        min_new_tokens=new,
        max_new_tokens=new,
        pad_token_id=0,
        **settings,
    )


def step_floor(
    hf: Any, rows: int, chosen: argparse.Namespace, copied: float, multiplied: float
) -> float:
    """Seconds that a step takes at least, half of the new tokens being there."""
    weights = sum(p.numel() for p in hf.parameters())
    length = chosen.prompt + chosen.new / 2
    heads = QWEN3_4B["num_key_value_heads"] * QWEN3_4B["head_dim"]
    read = 2 * (weights + rows * length * 2 * heads * chosen.layers)
    return max(read / copied, 2 * weights * rows / multiplied)


def bandwidth(device: str) -> float:
    """Bytes per second that a large copy reads."""
    source = torch.zeros(2**30 if device == "cuda" else 2**28, dtype=torch.int8, device=device)
    target = torch.empty_like(source)
    return 2 * source.numel() / _median(lambda: target.copy_(source))


def products(device: str) -> float:
    """FLOP/s of a large bfloat16 product."""
    size = 8192 if device == "cuda" else 1024
    a, b = torch.randn(2, size, size, dtype=torch.bfloat16, device=device)
    return 2 * size**3 / _median(lambda: a @ b)


def seconds(run: Callable[[int], None], chosen: argparse.Namespace) -> float:
    """Median seconds of decoding after the first token; the prefill is taken off."""
    run(chosen.new)  # to warm up
    times = [
        _time(lambda: run(chosen.new + 1)) - _time(lambda: run(1)) for _ in range(chosen.repeats)
    ]
    return median(times)


def _median(run: Callable[[], Any], times: int = 20) -> float:
    run()
    return median([_time(run) for _ in range(times)])


def _time(run: Callable[[], Any]) -> float:
    started = time.perf_counter()
    run()
    synchronize()
    return time.perf_counter() - started


def synchronize() -> None:
    """Wait until the device has done what it was asked for."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


if __name__ == "__main__":
    main()
