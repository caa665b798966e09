"""Tokens that a model computes for conditions one after another, with known strings kept and not.

Counts are the same on any hardware; the processor's time, one thread each, is this machine's. Both
models answer in one process each, side by side. In float32 an answer may differ where a uniform
falls between two roundings of a probability.
"""

import argparse
import time
from typing import Any

from bench import demo_model, parser, prompts, side_by_side, write_table

from powerblend import load_model, sample

LENGTH, ROWS = 64, 52
POWER = {"sampler": "power", "alpha": 4.0, "blocks": 8, "steps": 2}
CONDITIONS: dict[str, dict[str, Any]] = {
    "ps": POWER,
    "blend_ps": POWER | {"blend": {"source": "layer", "layer": 27, "beta": 0.02}},
    "greedy": {"sampler": "greedy"},
    "temp": {"sampler": "temperature", "temperature": 0.25},
    "base": {"sampler": "temperature", "temperature": 1.0},
}
KEPT_BYTES = 2**30


def main() -> None:
    """Measure and write the table."""
    options = parser(__doc__, repeats=1)
    options.add_argument("--problems", type=int, default=104, help="(default 104)")
    chosen = options.parse_args()
    forgetting, keeping = side_by_side(measured, 1, [(chosen, 0), (chosen, KEPT_BYTES)])
    rows = [
        {
            "condition": name,
            "tokens of answers": sum(map(len, forgetting[name]["answers"])),
            "computed, all": forgetting[name]["computed"],
            "computed, unknown": keeping[name]["computed"],
            "CPU s, all": forgetting[name]["seconds"],
            "CPU s, unknown": keeping[name]["seconds"],
            "faster by": forgetting[name]["seconds"] / keeping[name]["seconds"],
            "same answers": sum(
                one == other
                for one, other in zip(
                    forgetting[name]["answers"], keeping[name]["answers"], strict=True
                )
            ),
        }
        for name in CONDITIONS
    ]
    notes = f"SmolLM2-135M-Instruct in float32, {chosen.problems} problems, {ROWS} rows."
    write_table("prefixes", "Tokens computed, with known strings kept", rows, notes)


def measured(chosen: argparse.Namespace, kept: int) -> dict[str, dict[str, Any]]:
    """By condition, in one process: tokens computed, the processor's seconds, and answers."""
    model = load_model(demo_model())
    model.remember(kept, [27])
    found = {}
    for name, decoding in CONDITIONS.items():
        before, started = model.tokens_computed, time.process_time()
        out = sample(
            model, prompts(chosen.problems), decoding | {"max_new_tokens": LENGTH}, rows=ROWS
        )
        found[name] = {
            "seconds": time.process_time() - started,
            "computed": model.tokens_computed - before,
            "answers": [answer.tokens for (answer,) in out],
        }
    return found


if __name__ == "__main__":
    main()
