"""How time grows with problems, samples and answer length, and memory with rows."""

import resource
import time
from typing import Any

from bench import MODEL, median, parser, prompts, side_by_side, write_table

from powerblend import load_model, sample

DECODING = {"sampler": "power", "alpha": 4.0, "max_new_tokens": 64, "blocks": 8, "steps": 2}
CASES: list[tuple[str, dict[str, Any]]] = [
    *[(f"{n} problems", {"problems": n}) for n in (13, 26, 52, 104)],
    *[(f"13 problems, {n} samples", {"problems": 13, "samples": n}) for n in (2, 4, 8)],
    *[(f"26 problems, {n} tokens", {"problems": 26, "length": n}) for n in (32, 128, 256)],
    *[(f"104 problems, {n} rows", {"problems": 104, "rows": n}) for n in (8, 26, 104)],
]


def main() -> None:
    """Measure and write the table."""
    chosen = parser(__doc__).parse_args()
    table = []
    for name, case in CASES:
        runs = [side_by_side(run, 1, [(case,)])[0] for _ in range(chosen.repeats)]
        seconds, decoded, memory = (median(column) for column in zip(*runs, strict=True))
        table.append(
            {
                "case": name,
                "seconds": seconds,
                "decoded tokens": int(decoded),
                "tokens per second": decoded / seconds,
                "peak memory, MiB": int(memory),
            }
        )
    write_table(
        "scaling",
        "Time and memory",
        table,
        "One process of one thread; the demo's model and power sampling (α = 4, 64 tokens, 8 "
        f"blocks × 2 steps, 52 rows) but for what the case names. Medians of {chosen.repeats}.",
    )


def run(case: dict[str, Any]) -> tuple[float, float, float]:
    """Seconds, decoded tokens and peak resident MiB of one case."""
    model = load_model(MODEL)
    decoding = DECODING | {"max_new_tokens": case.get("length", 64)}
    chats = prompts(case["problems"])
    started = time.perf_counter()
    out = sample(model, chats, decoding, samples=case.get("samples", 1), rows=case.get("rows", 52))
    seconds = time.perf_counter() - started
    decoded = sum(answer.decoded_tokens for answers in out for answer in answers)
    return seconds, float(decoded), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
