r"""Writes the embedded problem set: small school mathematics in the record format of MATH.

A *family* is a function from a few small integers to a problem in words, a step that solves it, and
its exact answer, which sympy computes. To add a family, write one such function and put
``@family(...)`` on it; nothing else changes. Knows no model: which families are easy or hard was
measured elsewhere, and only their levels stand here.
"""

import argparse
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import chain, islice, product, zip_longest
from math import gcd
from pathlib import Path
from random import Random
from typing import NamedTuple

import sympy
from sympy import Eq, Integer, Rational, symbols

EPILOG = r"""
The two files beside this script are made by

  python generate.py --seed 0 --count 104 --output basic.jsonl
  python generate.py --seed 1 --count 400 --exclude basic.jsonl --output train.jsonl

The same arguments give the same bytes. Problems are taken from every family in turn, so that any
count is balanced, and then shuffled, so that the first few are a fair sample. The id of a problem,
such as arithmetic/sums/17, is its place in its family and does not depend on the seed.
"""

DIGITS = range(2, 10)
TEENS = range(11, 20)
X = symbols("x")


class Worked(NamedTuple):
    """What a family makes: a problem, the step that solves it, and its answer."""

    problem: str
    step: str
    answer: sympy.Expr


Case = tuple[int, ...]
Make = Callable[..., Worked]


@dataclass(frozen=True)
class Family:
    """Problems of one kind: one for each case."""

    name: str
    subject: str
    level: int
    cases: tuple[Case, ...]
    make: Make

    def record(self, index: int) -> dict[str, str | int]:
        """The problem of case ``index``, with the keys of MATH."""
        problem, step, exact = self.make(*self.cases[index])
        answer = sympy.latex(exact)
        return {
            "problem": problem,
            "solution": rf"{step} The answer is \boxed{{{answer}}}.",
            "answer": answer,
            "subject": self.subject,
            "level": self.level,
            "unique_id": f"{self.name}/{index}",
        }


FAMILIES: list[Family] = []


def family(
    name: str, subject: str, level: int, cases: Iterable[Iterable[int]]
) -> Callable[[Make], Make]:
    """Register a function as the family ``name``, with a problem for each of its ``cases``."""

    def register(make: Make) -> Make:
        FAMILIES.append(Family(name, subject, level, tuple(map(tuple, cases)), make))
        return make

    return register


prealgebra = partial(family, subject="Prealgebra")
algebra = partial(family, subject="Algebra")
geometry = partial(family, subject="Geometry")
numbers = partial(family, subject="Number Theory")
chance = partial(family, subject="Counting & Probability")


def proper_fractions(denominators: range, *, lowest: bool) -> Iterator[Case]:
    """Pairs n < d from 2 on, those in lowest terms or those that are not."""
    pairs = ((n, d) for d in denominators for n in range(2, d))
    return ((n, d) for n, d in pairs if (gcd(n, d) == 1) == lowest)


#FAMILIES#


def shuffled(kind: Family, seed: int) -> list[int]:
    """Places of the family's cases in an order of its own."""
    rng = Random(f"{seed}/{kind.name}")
    # Of all that Random offers, only random() is promised to be the same in every Python.
    return sorted(range(len(kind.cases)), key=lambda _: rng.random())


def in_turn(seed: int) -> Iterator[dict[str, str | int]]:
    """Every problem there is: one of each family, then a second of each, and so on."""
    queues = [map(kind.record, shuffled(kind, seed)) for kind in FAMILIES]
    return (record for record in chain.from_iterable(zip_longest(*queues)) if record)


def draw(seed: int, count: int, excluded: frozenset[str]) -> list[dict[str, str | int]]:
    """``count`` problems whose texts are not ``excluded``, balanced over families, shuffled.

    Raises
    ------
    SystemExit
        If there are not that many.
    """
    fresh = (record for record in in_turn(seed) if record["problem"] not in excluded)
    records = list(islice(fresh, count))
    if len(records) < count:
        raise SystemExit(
            f"--count {count}: only {len(records)} problems are left; ask for fewer, or add a "
            f"family to {Path(__file__).name}"
        )
    rng = Random(seed)
    return sorted(records, key=lambda _: rng.random())


def texts(paths: Iterable[Path]) -> frozenset[str]:
    """The problem texts of JSON lines files."""
    lines = chain.from_iterable(path.read_text(encoding="utf-8").splitlines() for path in paths)
    return frozenset(json.loads(line)["problem"] for line in lines)


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description="Write a set of small school mathematics problems as JSON lines.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--seed", type=int, default=0, help="which problems (default: 0)")
    parser.add_argument("--count", type=int, default=104, help="how many (default: 104)")
    parser.add_argument("--output", type=Path, required=True, help="the .jsonl file to write")
    parser.add_argument(
        "--exclude",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help="a set with which to have no problem in common; may be given several times",
    )
    return parser.parse_args()


def main() -> None:
    """Write the problems that the command line asks for."""
    options = arguments()
    records = draw(options.seed, options.count, texts(options.exclude))
    lines = (json.dumps(record) + "\n" for record in records)
    options.output.write_text("".join(lines), encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()
