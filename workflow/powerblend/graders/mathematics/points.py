"""Fixed points at which expressions are evaluated, the same on every machine.

Knows expressions only, and nothing about what is concluded from their values.
"""

from functools import lru_cache
from zlib import crc32

from sympy import Expr, Rational, Symbol


@lru_cache(maxsize=4096)
def at_probe(expression: Expr) -> complex:
    """Value at the first point, in floating point.

    A letter has the same value in every expression, so that many can be compared with many at the
    cost of one value each.
    """
    point = {letter: coordinate(letter, 0) for letter in expression.free_symbols}
    return complex(expression.xreplace(point).evalf(15))


def coordinate(letter: Symbol, point: int) -> Rational:
    """A rational near one, above it at odd points: high powers neither overflow nor vanish."""
    distance = Rational(1 + crc32(f"{point}{letter}".encode()) % 1699, 10007)
    return 1 + distance if point % 2 else 1 - distance
