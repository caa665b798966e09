"""How time grows with problems, samples and answer length, and memory with rows."""

import time
from pathlib import Path
from typing import Any

from bench import demo_model, median, parser, prompts, side_by_side, write_table

from powerblend import load_model, sample

DECODING = {"sampler": "power", "alpha": 4.0, "max_new_tokens": 64, "blocks": 8, "steps": 2}
CASES: dict[str, dict[str, Any]] = {
    **{f"{n} problems": {"problems": n} for n in (13, 26, 52)},
    **{f"13 problems, {n} samples": {"samples": n} for n in (2, 4)},
    **{f"13 problems, {n} tokens": {"length": n} for n in (32, 128)},
    **{f"26 problems, {n} rows": {"problems": 26, "rows": n} for n in (2, 8)},
}


def main() -> None:
    """Measure and write the table."""
    chosen = parser(__doc__).parse_args()
    runs: dict[str, list[tuple[float, float, float]]] = {name: [] for name in CASES}
    for _ in range(chosen.repeats):
        for name, case in CASES.items():
            runs[name] += side_by_side(run, 1, [(case,)])
    table = []
    for name, measured in runs.items():
        seconds, decoded, memory = (median(column) for column in zip(*measured, strict=True))
        table.append(
            {
                "case": name,
                "seconds": seconds,
                "decoded tokens": int(decoded),
                "tokens per second": decoded / seconds,
                "memory, MiB": int(memory),
            }
        )
    write_table(
        "scaling",
        "Time and memory",
        table,
        "One process of one thread; the demo's model and power sampling (α = 4, 64 tokens, 8 "
        "blocks × 2 steps, up to 52 rows, one sample) but for what the case names. Medians of "
        f"{chosen.repeats} repetitions, in turns. Memory is the most that the process held beyond "
        "the loaded model.",
    )


def run(case: dict[str, Any]) -> tuple[float, float, float]:
    """Seconds, decoded tokens and MiB of memory of one case."""
    model = load_model(demo_model())
    decoding = DECODING | {"max_new_tokens": case.get("length", 64)}
    chats = prompts(case.get("problems", 13))
    Path("/proc/self/clear_refs").write_text("5")  # the peak so far, which is that of loading
    loaded = memory("VmRSS")
    started = time.perf_counter()
    out = sample(model, chats, decoding, samples=case.get("samples", 1), rows=case.get("rows", 52))
    seconds = time.perf_counter() - started
    decoded = sum(answer.decoded_tokens for answers in out for answer in answers)
    return seconds, float(decoded), memory("VmHWM") - loaded


def memory(key: str) -> float:
    """Resident MiB of this process, now or at its peak; Linux only."""
    status = Path("/proc/self/status").read_text()
    return float(status.split(f"{key}:")[1].split()[0]) / 1024


if __name__ == "__main__":
    main()
