r"""Writes the embedded problem set: small school mathematics in the record format of MATH.

A *family* is a function from a few small integers to a problem in words, a step that solves it, and
its exact answer, which sympy computes. To add a family, write one such function and put
``@prealgebra(...)``, or another subject's, on it; nothing else changes. Knows no model: a level is
set by hand, roughly by how many small models fail.
"""

import argparse
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import chain, islice, product, zip_longest
from pathlib import Path
from random import Random
from typing import NamedTuple

import sympy
from sympy import Eq, Integer, Rational, symbols

EPILOG = r"""
The two files beside this script are made by

  python generate.py --seed 0 --count 104 --output basic.jsonl
  python generate.py --seed 1 --count 150 --exclude basic.jsonl --output train.jsonl

The same arguments give the same bytes. Problems are taken from every family in turn, so that any
count is balanced, and then shuffled, so that the first few are a fair sample. The id of a problem,
such as arithmetic/sums/17, is its place in its family and does not depend on the seed.
"""

DIGITS = range(2, 10)
TEENS = range(11, 20)
UNROUND = [n for n in range(11, 50) if n % 10]
X = symbols("x")


class Worked(NamedTuple):
    """What a family makes: a problem, the step that solves it, and its answer."""

    problem: str
    step: str
    answer: sympy.Expr


Case = tuple[int, ...]
Record = dict[str, str | int]
Make = Callable[..., Worked]


@dataclass(frozen=True)
class Family:
    """Problems of one kind: one for each case."""

    name: str
    subject: str
    level: int
    cases: tuple[Case, ...]
    make: Make

    def record(self, index: int) -> Record:
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


@prealgebra("arithmetic/sums", level=1, cases=product(DIGITS, DIGITS))
def sums(a: int, b: int) -> Worked:
    """Two one-digit numbers."""
    total = Integer(a) + b
    return Worked(f"What is {a} + {b}?", f"{a} + {b} = {total}.", total)


@prealgebra("arithmetic/products", level=1, cases=product(DIGITS, DIGITS))
def products(a: int, b: int) -> Worked:
    """The times table."""
    result = Integer(a) * b
    return Worked(f"What is {a} * {b}?", f"{a} * {b} = {result}.", result)


@prealgebra("arithmetic/tens", level=1, cases=product(range(10, 100, 10), range(10, 100, 10)))
def tens(a: int, b: int) -> Worked:
    """Sums of whole tens."""
    total = Integer(a) + b
    return Worked(f"What is {a} + {b}?", f"{a} + {b} = {total}.", total)


@prealgebra("arithmetic/squares", level=1, cases=product(range(2, 13)))
def squares(a: int) -> Worked:
    """Squares."""
    result = Integer(a) ** 2
    return Worked(f"What is {a}^2?", f"{a}^2 = {result}.", result)


@prealgebra("measures/weeks", level=1, cases=product(range(2, 13)))
def weeks(a: int) -> Worked:
    """Weeks in days."""
    days = Integer(a) * 7
    return Worked(f"How many days are in {a} weeks?", f"{a} weeks is {a} * 7 = {days} days.", days)


@prealgebra("arithmetic/two-digit-sums", level=2, cases=product(range(11, 50), UNROUND))
def two_digit_sums(a: int, b: int) -> Worked:
    """Two two-digit numbers."""
    total = Integer(a) + b
    return Worked(f"What is {a} + {b}?", f"{a} + {b} = {total}.", total)


@prealgebra("stories/more", level=2, cases=product(DIGITS, DIGITS))
def more(a: int, b: int) -> Worked:
    """A sum in words."""
    total = Integer(a) + b
    return Worked(
        f"Ann has {a} apples and gets {b} more. How many apples does she have in total?",
        f"She has {a} + {b} = {total} apples.",
        total,
    )


@prealgebra("stories/bags", level=2, cases=product(DIGITS, DIGITS))
def bags(a: int, b: int) -> Worked:
    """A product in words."""
    total = Integer(a) * b
    return Worked(
        f"A bag holds {a} apples. How many apples do {b} bags hold?",
        f"{b} bags hold {b} * {a} = {total} apples.",
        total,
    )


@prealgebra("measures/years", level=2, cases=product(range(2, 13)))
def years(a: int) -> Worked:
    """Years in months."""
    months = Integer(a) * 12
    return Worked(
        f"How many months are in {a} years?", f"{a} years is {a} * 12 = {months} months.", months
    )


@numbers("powers/two", level=2, cases=product(range(4, 10)))
def powers_of_two(n: int) -> Worked:
    """Powers of two."""
    result = Integer(2) ** n
    return Worked(f"What is 2^{n}?", f"2^{n} = {' * '.join('2' * n)} = {result}.", result)


@prealgebra("arithmetic/tens-products", level=2, cases=product(range(2, 10), range(20, 100, 10)))
def tens_products(a: int, b: int) -> Worked:
    """A digit times whole tens."""
    result = Integer(a) * b
    return Worked(f"What is {a} * {b}?", f"{a} * {b} = {result}.", result)


@geometry("areas/rectangles", level=2, cases=product(DIGITS, DIGITS))
def rectangles(a: int, b: int) -> Worked:
    """Area of a rectangle."""
    area = Integer(a) * b
    return Worked(
        f"A rectangle has sides {a} and {b}. What is its area?",
        f"The area is {a} * {b} = {area}.",
        area,
    )


@prealgebra("stories/prices", level=3, cases=product(DIGITS, DIGITS))
def prices(a: int, b: int) -> Worked:
    """Another product in words."""
    total = Integer(a) * b
    return Worked(
        f"A pen costs {a} dollars. How many dollars do {b} pens cost?",
        f"{b} pens cost {b} * {a} = {total} dollars.",
        total,
    )


@algebra("values/multiples", level=3, cases=product(DIGITS, DIGITS))
def multiples(a: int, b: int) -> Worked:
    """Value of a term."""
    value = (a * X).subs(X, b)
    return Worked(f"If x = {b}, what is {a}x?", f"{a}x = {a} * {b} = {value}.", value)


@algebra("equations/small", level=3, cases=product(DIGITS, DIGITS))
def small_equations(a: int, b: int) -> Worked:
    """One step, with numbers up to 18."""
    return _one_step(a, a + b)


@chance("counting/outfits", level=3, cases=product(DIGITS, DIGITS))
def outfits(a: int, b: int) -> Worked:
    """The rule of product."""
    ways = Integer(a) * b
    return Worked(
        f"How many outfits can be made from {a} shirts and {b} hats?",
        f"There are {a} * {b} = {ways} outfits.",
        ways,
    )


@prealgebra("arithmetic/long-products", level=3, cases=product(TEENS, DIGITS))
def long_products(a: int, b: int) -> Worked:
    """A number in the teens times a digit."""
    result = Integer(a) * b
    return Worked(f"What is {a} * {b}?", f"{a} * {b} = {result}.", result)


@numbers("powers/cubes", level=4, cases=product(range(2, 9)))
def cubes(a: int) -> Worked:
    """Third powers."""
    result = Integer(a) ** 3
    return Worked(f"What is {a}^3?", f"{a}^3 = {a} * {a} * {a} = {result}.", result)


@algebra("equations/large", level=4, cases=product(DIGITS, range(11, 30)))
def large_equations(a: int, b: int) -> Worked:
    """One step, with numbers from 13 on."""
    return _one_step(a, a + b)


@algebra("values/linear", level=4, cases=product(range(2, 7), range(2, 7), DIGITS))
def linear_values(a: int, x: int, b: int) -> Worked:
    """Value of a linear term."""
    value = (a * X + b).subs(X, x)
    step = f"{a}x + {b} = {a} * {x} + {b} = {a * x} + {b} = {value}."
    return Worked(f"If x = {x}, what is {a}x + {b}?", step, value)


@algebra("sequences/sums", level=4, cases=product(range(4, 11)))
def series(n: int) -> Worked:
    """The first whole numbers."""
    total = sympy.summation(X, (X, 1, n))
    terms = " + ".join(map(str, range(1, n + 1)))
    return Worked(f"What is 1 + 2 + ... + {n}?", f"{terms} = {total}.", total)


@algebra("rates/drives", level=4, cases=product(range(20, 100, 10), range(2, 7)))
def drives(speed: int, hours: int) -> Worked:
    """Distance from speed and time."""
    miles = Integer(speed) * hours
    return Worked(
        f"A car drives {speed} miles an hour. How many miles does it drive in {hours} hours?",
        f"In {hours} hours it drives {hours} * {speed} = {miles} miles.",
        miles,
    )


@algebra("equations/two-step", level=5, cases=product(range(2, 6), DIGITS, DIGITS))
def two_step_equations(a: int, b: int, c: int) -> Worked:
    """Two steps."""
    right = a * c + b
    (root,) = sympy.solve(Eq(a * X + b, right), X)
    step = f"{a}x = {right} - {b} = {right - b}, so x = {right - b} / {a} = {root}."
    return Worked(f"Solve {a}x + {b} = {right}.", step, root)


@chance("probability/draws", level=5, cases=product(DIGITS, DIGITS))
def draws(red: int, blue: int) -> Worked:
    """A probability whose whole has to be added up first."""
    probability = Rational(red, red + blue)
    return Worked(
        f"A bag holds {red} red and {blue} blue balls. What is the probability of drawing red?",
        f"{red} of {red} + {blue} = {red + blue} balls are red.",
        probability,
    )


@geometry("volumes/cubes", level=5, cases=product(range(2, 11)))
def volumes(a: int) -> Worked:
    """Volume of a cube."""
    volume = Integer(a) ** 3
    return Worked(
        f"A cube has side {a}. What is its volume?",
        f"The volume is {a} * {a} * {a} = {volume}.",
        volume,
    )


@prealgebra("arithmetic/precedence", level=5, cases=product(DIGITS, DIGITS, DIGITS))
def precedence(a: int, b: int, c: int) -> Worked:
    """A product before a sum."""
    total = Integer(a) * b + c
    return Worked(f"What is {a} * {b} + {c}?", f"{a} * {b} + {c} = {a * b} + {c} = {total}.", total)


def _one_step(a: int, b: int) -> Worked:
    """One-step equations: what is added goes over to the other side."""
    (root,) = sympy.solve(Eq(X + a, b), X)
    return Worked(f"Solve x + {a} = {b}.", f"x = {b} - {a} = {root}.", root)


def shuffled(kind: Family, seed: int) -> list[int]:
    """Places of the family's cases in an order of its own."""
    rng = Random(f"{seed}/{kind.name}")
    # Of all that Random offers, only random() is promised to be the same in every Python.
    return sorted(range(len(kind.cases)), key=lambda _: rng.random())


def in_turn(seed: int) -> Iterator[Record]:
    """Every problem there is: one of each family, then a second of each, and so on."""
    queues = [map(kind.record, shuffled(kind, seed)) for kind in FAMILIES]
    return (record for record in chain.from_iterable(zip_longest(*queues)) if record)


def fresh(records: Iterable[Record], excluded: frozenset[str]) -> Iterator[Record]:
    """Leave out problems that are excluded or came before: two families may share a text."""
    seen: set[str | int] = set(excluded)
    for record in records:
        if record["problem"] not in seen:
            seen.add(record["problem"])
            yield record


def draw(seed: int, count: int, excluded: frozenset[str]) -> list[Record]:
    """``count`` problems whose texts are not ``excluded``, balanced over families, shuffled.

    Raises
    ------
    SystemExit
        If there are not that many.
    """
    records = list(islice(fresh(in_turn(seed), excluded), count))
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
