"""Decoded tokens per second by rows, against Hugging Face ``generate`` and the arithmetic.

Every side decodes the same number of tokens after the same random prompts, with full support at the
same temperature and no EOS. The time of a run of one token, prefill and all, is taken off. The
floor is the step's multiplications at the speed at which a large float32 matrix product, torch's or
the engine's own, whichever is faster, runs on as many processes and threads, measured before and
after each of the engine's rows: a processor's clock changes with what else it does. Memory is the
most that was resident, with the pages of the model's file that were read.
"""

import resource
import time
from collections.abc import Callable
from typing import Any

import torch
from bench import demo_model, median, parser, rows_option, side_by_side, write_table
from transformers import AutoModelForCausalLM

from powerblend import load_model, sample
from powerblend.engine.panel_product import Panels

PROMPT, NEW = 32, 64
ALPHA = 4.0


def main() -> None:
    """Measure and write the table."""
    options = parser(__doc__)
    rows_option(options, 1, 8, 32, 64, 128)
    options.add_argument("--processes", type=int, default=2, help="of one thread (default 2)")
    chosen = options.parse_args()
    count = chosen.processes
    one_each, repeats = [(chosen.repeats,)] * count, chosen.repeats
    table, peaks = [], []
    for rows in chosen.rows:
        peaks.append(sum(side_by_side(matrix_product, 1, one_each)))
        measured = side_by_side(powerblend, 1, [(rows, repeats)] * count)
        ours, memory = (sum(numbers) for numbers in zip(*measured, strict=True))
        peaks.append(sum(side_by_side(matrix_product, 1, one_each)))
        theirs = sum(side_by_side(hugging_face, 1, [(rows, repeats)] * count))
        (threaded,) = side_by_side(hugging_face, count, [(rows, repeats)])
        floor = sum(peaks[-2:]) / 2 / flops_per_token()
        table.append(
            {
                "rows per process": rows,
                "powerblend, tokens/s": ours,
                f"HF generate, {count} × 1 thread": theirs,
                f"HF generate, 1 × {count} threads": threaded,
                "ratio to the faster": ours / max(theirs, threaded),
                f"ratio to 1 × {count}": ours / threaded,
                "floor": floor,
                "of the floor": ours / floor,
                "powerblend, MiB a process": memory / count,
            }
        )
    write_table(
        "step",
        "Decoded tokens per second",
        table,
        f"{count} processes of one thread; {NEW} tokens after {PROMPT} prompt tokens and "
        f"one more, α = {ALPHA:g}. Large float32 matrix products reached {min(peaks) / 1e9:.0f} to "
        f"{max(peaks) / 1e9:.0f} GFLOP/s. Medians of {repeats}.",
    )


def powerblend(rows: int, repeats: int) -> tuple[float, float]:
    """Tokens per second of the engine, and the most memory that its process held, in MiB."""
    model = load_model(demo_model(), eos_token_ids=[0])
    prompts = _prompts(rows).tolist()

    def run(new: int) -> None:
        decoding = {"sampler": "temperature", "alpha": ALPHA, "max_new_tokens": new}
        out = sample(model, prompts, decoding, rows=rows, speculate="off")
        assert all(answer.n_tokens == new for (answer,) in out)

    speed = rows * NEW / _seconds(run, repeats)
    return speed, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def hugging_face(rows: int, repeats: int) -> float:
    """Tokens per second of ``generate``."""
    model = AutoModelForCausalLM.from_pretrained(demo_model(), dtype=torch.float32).eval()
    prompts = _prompts(rows)
    settings: dict[str, Any] = {"temperature": 1 / ALPHA, "top_k": 0, "top_p": 1.0}

    def run(new: int) -> None:
        model.generate(
            prompts,
            attention_mask=torch.ones_like(prompts),
            do_sample=True,
            min_new_tokens=new,
            max_new_tokens=new,
            **settings,
        )

    return rows * NEW / _seconds(run, repeats)


def matrix_product(repeats: int) -> float:
    """FLOP/s of a large float32 matrix product: torch's, or the engine's where that is faster."""
    rows, weight = torch.randn(2, 2048, 2048)
    panels = Panels.of(weight)
    torchs = median([_time(lambda: rows @ weight.t()) for _ in range(10 * repeats)])
    ours = median([_time(lambda: panels.product(rows)) for _ in range(10 * repeats)])
    return 2 * 2048**3 / min(torchs, ours)


def flops_per_token() -> float:
    """Multiplications and additions with weights: every matrix once, ``lm_head`` included."""
    model = AutoModelForCausalLM.from_pretrained(demo_model(), dtype=torch.float32)
    matrices = [p for name, p in model.named_parameters() if p.ndim == 2 and "embed" not in name]
    return 2.0 * (sum(p.numel() for p in matrices) + model.get_output_embeddings().weight.numel())


def _prompts(rows: int) -> torch.Tensor:
    torch.manual_seed(0)
    return torch.randint(100, 49_000, (rows, PROMPT))


def _seconds(run: Callable[[int], None], repeats: int) -> float:
    """Median seconds of decoding ``NEW`` tokens after the first one."""
    run(NEW)  # to warm up
    return median([_time(lambda: run(NEW + 1)) - _time(lambda: run(1)) for _ in range(repeats)])


def _time(run: Callable[[], Any]) -> float:
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
