"""Tokens per second of power sampling, here and in another checkout of powerblend.

Both sides decode the same of the demo's problems (α = 4, 64 tokens, 8 blocks × 2 steps), each in a
process of one thread, in turns. Seconds are the processor's: what other programs take of it is left
out.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from powerblend import load_model, sample

DECODING = {"sampler": "power", "alpha": 4.0, "max_new_tokens": 64, "blocks": 8, "steps": 2}
ONE_SIDE = "one-side"
PROBLEMS_PER_ROW = {1: 4, 8: 2, 64: 1}
"""So many that the first rows are refilled, and few enough to wait for."""


def main() -> None:
    """Measure and write the table, or, asked for one side, measure what is given and print it."""
    if sys.argv[1:] == [ONE_SIDE]:
        print(json.dumps(measured(**json.load(sys.stdin))))
        return
    # The other checkout may not have what this needs of powerblend.
    from bench import ROOT, median, parser, rows_option, write_table

    options = parser(__doc__)
    rows_option(options, 1, 8, 64)
    options.add_argument("--against", type=Path, required=True, help="the other checkout")
    chosen = options.parse_args()
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


def measured(model_path: str, chats: list[Any], rows: int) -> dict[str, Any]:
    """Tokens per second of the powerblend that is imported, and the answers."""
    model = load_model(model_path)
    sample(model, chats[:1], DECODING | {"max_new_tokens": 8}, rows=1)  # to warm up
    started = time.process_time()
    out = sample(model, chats, DECODING, rows=rows)
    seconds = time.process_time() - started
    tokens = sum(answer.decoded_tokens for (answer,) in out)
    return {"speed": tokens / seconds, "answers": [answer.tokens for (answer,) in out]}


def _in(checkout: Path, rows: int) -> dict[str, Any]:
    """What `measured` finds with another checkout's package."""
    from bench import demo_model, prompts

    chats = prompts(round(rows * PROBLEMS_PER_ROW.get(rows, 2)))
    given = json.dumps({"model_path": str(demo_model()), "chats": chats, "rows": rows})
    paths = [str(checkout / "workflow"), os.environ.get("PYTHONPATH", "")]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(paths)}
    run = subprocess.run(
        [sys.executable, __file__, ONE_SIDE],
        env=environment,
        check=True,
        input=given,
        stdout=subprocess.PIPE,
        text=True,
    )
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
