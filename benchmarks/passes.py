"""Steps of the model per answer, with and without guesses of the next tokens.

Passes are counts, the same on any hardware of one arithmetic: without guesses a string has one for
each of its tokens. Every problem of the first table has a row to itself, or one for each of its
samples. With a draft's blend, guesses are the strings' own and the draft's, or the strings' alone.
The second table is speed, which is of this machine: one thread, both sides in turns.
"""

import argparse
import time
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any
from unittest.mock import patch

from bench import demo_model, median, parser, prompts, rows_option, side_by_side, write_table

from powerblend import load_draft, load_model, sample
from powerblend.api.generation import Run, requests_of
from powerblend.engine.scheduler import Scheduler
from powerblend.samplers import parse_sampler

LENGTH, ALPHA = 64, 4.0
POWER = {"sampler": "power", "alpha": ALPHA, "blocks": 8, "steps": 2}
CONDITIONS: dict[str, dict[str, Any]] = {
    "greedy": {"sampler": "greedy"},
    "temp": {"sampler": "temperature", "temperature": 1 / ALPHA},
    "ps": POWER,
    "blend_ps": POWER | {"blend": {"source": "layer", "layer": 27, "beta": 0.02}},
    "draft_blend_ps": POWER | {"blend": {"source": "draft", "beta": 0.05}},
    "draft_blend_ps, own strings": POWER | {"blend": {"source": "draft", "beta": 0.05}},
}
PROBLEMS_PER_ROW = {1: 8, 8: 3, 64: 1.5}
"""Of the second table: so many that rows are mostly full, and few enough to wait for."""


def main() -> None:
    """Measure and write the tables."""
    options = parser(__doc__, repeats=1)
    rows_option(options, 1, 8, 64)
    options.add_argument("--problems", type=int, default=16, help="of passes (default 16)")
    options.add_argument("--draft", type=Path, help="a trained draft, for draft_blend_ps")
    chosen = options.parse_args()
    (counts,) = side_by_side(count, 1, [(chosen,)])
    notes = f"SmolLM2-135M-Instruct in float32, α = {ALPHA:g}, {LENGTH} tokens, 8 blocks × 2 steps."
    write_table("passes", "Passes per answer", counts, notes)
    if chosen.repeats:
        (speeds,) = side_by_side(speed, 1, [(chosen,)])
        write_table("speculation", "Tokens per second with guesses and without", speeds, notes)


def count(chosen: argparse.Namespace) -> list[dict[str, Any]]:
    """A row of the first table for each condition and number of samples."""
    draft = load_draft(str(chosen.draft)) if chosen.draft else None
    model = load_model(demo_model(), draft=draft)
    table = []
    for name, decoding in CONDITIONS.items():
        for samples in (1, 8):
            if (name == "greedy" and samples > 1) or (name.startswith("draft") and not draft):
                continue
            sampler = parse_sampler(decoding | {"max_new_tokens": LENGTH})
            chats = prompts(-(-chosen.problems // samples))
            requests = requests_of(model, chats, sampler, samples)
            run = Run(model, requests, sampler, 0, samples)
            with own_strings_alone() if "own strings" in name else nullcontext():
                answers = [answer for finished in run.steps() for _, answer in finished]
            passes = sum(answer.passes for answer in answers)
            table.append(
                {
                    "condition": name,
                    "samples": samples,
                    "answers": len(answers),
                    "tokens per answer": run.tally.decoded_tokens / len(answers),
                    "passes per answer": passes / len(answers),
                    "passes per token": passes / run.tally.decoded_tokens,
                    "guessed per token": run.tally.guessed / run.tally.decoded_tokens,
                    "guesses right": run.tally.guessed_right / max(1, run.tally.guessed),
                }
            )
    return table


def own_strings_alone() -> AbstractContextManager[Any]:
    """Let no step ask the draft for guesses."""
    return patch.object(Scheduler, "_ask_draft", lambda *_: None)


def speed(chosen: argparse.Namespace) -> list[dict[str, Any]]:
    """A row of the second table for each number of rows.

    In float32 some answers differ where a uniform falls between two roundings of a probability:
    how many of `off` and `auto`, and of `off` and of `off` in another number of rows.
    """
    model = load_model(demo_model())
    table = []
    others: list[list[int]] = []
    for rows in chosen.rows:
        chats = prompts(round(rows * PROBLEMS_PER_ROW.get(rows, 2)))
        speeds: dict[str, list[float]] = {"off": [], "auto": []}
        answers: dict[str, list[list[int]]] = {}
        for _ in range(chosen.repeats):
            for speculate, found in speeds.items():
                started = time.perf_counter()
                decoding = POWER | {"max_new_tokens": LENGTH}
                out = sample(model, chats, decoding, rows=rows, speculate=speculate)
                tokens = sum(answer.decoded_tokens for (answer,) in out)
                found.append(tokens / (time.perf_counter() - started))
                answers[speculate] = [answer.tokens for (answer,) in out]
        off, auto = median(speeds["off"]), median(speeds["auto"])
        table.append(
            {
                "rows": rows,
                "off, tokens/s": off,
                "auto, tokens/s": auto,
                "ratio": auto / off,
                "same answers": _equal(answers["off"], answers["auto"]),
                "same in the rows above": _equal(others, answers["off"]),
            }
        )
        others = answers["off"]
    return table


def _equal(these: list[list[int]], those: list[list[int]]) -> str:
    """How many of the answers to the same problems are equal."""
    pairs = list(zip(these, those, strict=False))
    return f"{sum(a == b for a, b in pairs)} of {len(pairs)}"


if __name__ == "__main__":
    main()
