"""Tokens per second of power sampling, here and in another checkout of powerblend.

Both sides decode the same of the demo's problems (α = 4, 64 tokens, 8 blocks × 2 steps), each in a
process of one thread, in turns. Seconds are the processor's: what other programs take of it is left
out.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from bench import ROOT, demo_model, median, parser, prompts, rows_option, write_table

from powerblend import load_model, sample

DECODING = {"sampler": "power", "alpha": 4.0, "max_new_tokens": 64, "blocks": 8, "steps": 2}
PROBLEMS_PER_ROW = {1: 4, 8: 2, 64: 1}
"""So many that the first rows are refilled, and few enough to wait for."""


def main() -> None:
    """Measure and write the table, or measure one side and print it."""
    options = parser(__doc__)
    rows_option(options, 1, 8, 64)
    options.add_argument("--against", type=Path, help="the other checkout")
    options.add_argument("--one", type=int, help=argparse.SUPPRESS)
    chosen = options.parse_args()
    if chosen.one:
        print(json.dumps(measured(chosen.one)))
        return
    if not chosen.against:
        raise SystemExit("name the other checkout: --against PATH")
    sides = {"before": chosen.against, "now": ROOT}
    table = []
    for rows in chosen.rows:
        found: dict[str, list[dict[str, Any]]] = {side: [] for side in sides}
        for _ in range(chosen.repeats):
            for side, checkout in sides.items():
                found[side].append(_in(checkout, rows))
        speed = {side: median([run["speed"] for run in runs]) for side, runs in found.items()}
        pairs = list(zip(*(found[side][0]["answers"] for side in sides), strict=True))
        table.append(
            {
                "rows": rows,
                **{f"{side}, tokens/s": value for side, value in speed.items()},
                "faster by": speed["now"] / speed["before"],
                "same answers": f"{sum(a == b for a, b in pairs)} of {len(pairs)}",
            }
        )
    notes = f"Against {_revision(chosen.against)}. Medians of {chosen.repeats}, in turns."
    write_table("against", "Tokens per second, before and now", table, notes)


def measured(rows: int) -> dict[str, Any]:
    """Tokens per second of the powerblend that is imported, and the answers."""
    model, chats = load_model(demo_model()), prompts(round(rows * PROBLEMS_PER_ROW.get(rows, 2)))
    sample(model, chats[:1], DECODING | {"max_new_tokens": 8}, rows=1)  # to warm up
    started = time.process_time()
    out = sample(model, chats, DECODING, rows=rows)
    seconds = time.process_time() - started
    tokens = sum(answer.decoded_tokens for (answer,) in out)
    return {"speed": tokens / seconds, "answers": [answer.tokens for (answer,) in out]}


def _in(checkout: Path, rows: int) -> dict[str, Any]:
    """What `measured` finds with another checkout's package."""
    paths = [str(checkout / "workflow"), os.environ.get("PYTHONPATH", "")]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(paths)}
    command = [sys.executable, __file__, "--one", str(rows)]
    run = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, Any] = json.loads(run.stdout.splitlines()[-1])
    return found


def _revision(checkout: Path) -> str:
    """Which commit a checkout is of, or where it is."""
    command = ["git", "-C", str(checkout), "rev-parse", "--short", "HEAD"]
    run = subprocess.run(command, capture_output=True, text=True)
    inside = (checkout / ".git").exists()
    return run.stdout.strip() if inside else checkout.name


if __name__ == "__main__":
    main()
