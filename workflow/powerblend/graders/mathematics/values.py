r"""Whether two strings write the same value.

Integers and plain fractions are compared as written. Everything else is equal if the difference is
zero at several points, exactly or in hundreds of digits. All is bounded by counts, not by a clock.
Knows nothing about names, units or lists.
"""

import re
from functools import lru_cache

import sympy
from sympy import Expr, Rational

from powerblend.graders.mathematics.parsing import Unreadable, read
from powerblend.graders.mathematics.points import at_probe, coordinate
from powerblend.graders.mathematics.written import same_as_written, without_brackets

_DECIMAL = re.compile(r"-?\d*\.(\d+)\Z")

POINTS = 4
"""Where expressions with letters are compared, all letters positive."""
REAL_POINTS = 2
"""At which at least both must have a real value, for the others to be left out."""
ZERO_DIGITS = 250
"""After the point: a difference that is smaller than that is zero."""
DIGIT_LIMIT = 300
"""Of the numbers that a difference is worked out with."""


def same_value(answer: str, gold: str) -> bool:
    """Whether two strings write one value, integers and plain fractions in one way."""
    answer, gold = without_brackets(answer), without_brackets(gold)
    written = same_as_written(answer, gold)
    return equal_strings(answer, gold) if written is None else written


def equal_strings(answer: str, gold: str) -> bool:
    """Whether two strings write one value, however far it is worked out."""
    try:
        return equal(read(answer), read(gold))
    except Unreadable:
        return False


def number(text: str) -> Expr | None:
    """The real or complex number that a string writes, or None if it writes none."""
    try:
        value = read(text)
    except Unreadable:
        return None
    return None if value.free_symbols or value.has(sympy.nan, sympy.zoo) else value


def rounds_to(value: Expr, decimal: str) -> bool:
    """Whether a decimal is the value, rounded or cut off to the places that are written."""
    match = _DECIMAL.match(decimal)
    if match is None or not value.is_real:
        return False
    unit = Rational(1, 10 ** len(match[1]))
    written = Rational(decimal)
    beyond = sympy.N(abs(value) - abs(written), 30)
    return bool(written * value >= 0 and -unit / 2 <= beyond < unit)


@lru_cache(maxsize=4096)
def equal(ours: Expr, theirs: Expr) -> bool:
    r"""Whether two expressions have the same values, wherever both are real.

    Most wrong answers are told by their value at one point. What agrees there is compared at
    several rational points, where polynomials are exact and all else has hundreds of digits.
    All letters are positive, and then one after the other is negative: ``\sqrt{x^2}`` is not x, but
    ``\sqrt{12x^3}`` is ``2x\sqrt{3x}``, and ``2\ln x`` is ``\ln x^2``. What is nowhere real is
    compared as complex numbers.
    """
    if ours == theirs:
        return True
    if not may_be_equal(_real_at_probe(ours), _real_at_probe(theirs)):
        return False
    letters = sorted(ours.free_symbols | theirs.free_symbols, key=str)
    points = [
        {letter: coordinate(letter, point) for letter in letters}
        for point in range(POINTS if letters else 1)
    ]
    points += [points[0] | {letter: -points[0][letter]} for letter in letters]
    pairs = [(ours.subs(point), theirs.subs(point)) for point in points]
    pairs = [pair for pair in pairs if all(map(_is_known, pair))]
    real = [pair for pair in pairs if all(map(_is_real, pair))]
    enough = min(REAL_POINTS, len(points))
    compared = real if len(real) >= enough else pairs
    return len(compared) >= enough and all(_is_zero(one - other) for one, other in compared)


def may_be_equal(one: complex | None, other: complex | None) -> bool:
    """Whether two values at the probe are the same, as far as is known."""
    if one is None or other is None:
        return True
    # Each value has fifteen digits of its own; what is zero is far smaller than that.
    return abs(one - other) <= 1e-9 * (abs(one) + abs(other)) + 1e-50


def probe(text: str) -> complex | None:
    """The value at the probe of what a string writes, or None where nothing is known."""
    try:
        return _real_at_probe(read(text))
    except Unreadable:
        return None


def _real_at_probe(expression: Expr) -> complex | None:
    try:
        value = at_probe(expression)
    except (TypeError, ValueError, OverflowError, ArithmeticError):
        return None
    return None if abs(value.imag) > 1e-9 * abs(value.real) else value  # it may be real elsewhere


def _is_known(value: Expr) -> bool:
    return value.is_number and not value.has(sympy.nan, sympy.zoo, sympy.oo, -sympy.oo)


def _is_real(value: Expr) -> bool:
    if value.is_real is not None:
        return bool(value.is_real)
    return bool(abs(sympy.im(value.evalf(30))) < Rational(1, 10**20))


def _is_zero(difference: Expr) -> bool:
    if difference.is_Rational:
        return bool(difference == 0)
    value = difference.evalf(15, maxn=DIGIT_LIMIT)
    return bool(value.is_number and abs(value) < Rational(1, 10**ZERO_DIGITS))
