"""How many different pairs of an answer and its reference are graded a second, by both graders.

Pairs that are plain numbers are certain, and need no worker. What starting the workers takes is
measured by one pair that does, and left out of the rate. Needs no model.
"""

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

from bench import median, parser, write_table

from powerblend.graders.base import Case
from powerblend.graders.math import MathGrader
from powerblend.graders.mathematics.certain import certain_verdict
from powerblend.infrastructure.files import read_jsonl


def main() -> None:
    """Measure and write the table."""
    options = parser(__doc__)
    options.add_argument(
        "--pairs",
        type=Path,
        required=True,
        help="JSON lines with answer and gold, as grading's tests have them; equal ones count once",
    )
    options.add_argument("--workers", type=int, nargs="+", default=[1, 2], help="(default 1 2)")
    chosen = options.parse_args()
    cases = _cases(chosen)
    asked = [case for case in cases if certain_verdict(case.answer, case.reference) is None]
    _seconds(asked[:1], 1)  # starts the process that workers are forked from
    table = []
    for workers in chosen.workers:
        starts, all_of_them = (
            [_seconds(some, workers) for _ in range(chosen.repeats)] for some in (asked[:1], cases)
        )
        rate = len(cases) / (median(all_of_them) - median(starts))
        table.append({"workers": workers, "start, s": median(starts), "pairs a second": rate})
    write_table(
        "grading",
        "Different pairs graded a second",
        table,
        f"{len(cases)} pairs, of which {len(cases) - len(asked)} are plain numbers on both sides. "
        f"Medians of {chosen.repeats} repetitions.",
    )


def _cases(chosen: argparse.Namespace) -> list[Case]:
    if not chosen.pairs.is_file():
        raise SystemExit(f"--pairs: there are no pairs in {chosen.pairs}")
    pairs = [(row["answer"], row["gold"]) for row in read_jsonl(chosen.pairs)]
    return [Case(answer, "", gold) for answer, gold in dict.fromkeys(pairs)]


def _seconds(cases: Sequence[Case], workers: int) -> float:
    start = time.perf_counter()
    for _ in MathGrader().verdicts(cases, workers):
        pass
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
