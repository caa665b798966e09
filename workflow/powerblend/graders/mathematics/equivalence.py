r"""The primary grader: whether an answer is the reference answer, in the tradition of MATH.

Equal spellings are equal. Otherwise structures are compared part by part, integers and plain
fractions strictly (4 is not accepted as ``8/2``, nor 1/2 as ``2/4``: the answer was to be worked
out), prose letter by letter, and the rest by whether sympy simplifies the difference to zero.
Knows nothing about completions or boxes.
"""

import re
from functools import reduce
from math import comb

import sympy
from sympy import Expr

from powerblend.graders.mathematics.budget import OutOfBudgetError, budget
from powerblend.graders.mathematics.normalise import CHARACTER_LIMIT, UNIT, normalise
from powerblend.graders.mathematics.parsing import Unreadable, at_probe, read
from powerblend.graders.mathematics.shape import Shape, is_words, shape_of, without_name

_INTEGER = re.compile(r"([+-]?)0*(\d+)(?:\.0*)?\Z")
_FRACTION = re.compile(
    r"([+-]?)(?:\\frac\{(?P<top>[+-]?\d+)\}\{(?P<bottom>\d+\.?)\}|(?P<over>\d+)/(?P<under>\d+\.?))\Z"
)
CALL_LIMIT = 6_000_000
"""Of functions, while one answer is graded: a second or two, where most take a millisecond."""
TERM_LIMIT = 2000
"""Of a difference when it is multiplied out; one with more is not simplified, hence not zero."""

_UNORDERED = ("set", "union")


def grade(answer: str | None, gold: str) -> bool:
    """Whether the answer is right. Takes any string: what cannot be understood is not right.

    The work is bounded by counts, not by a clock, so that the verdict is the same everywhere.
    """
    if answer is None or not answer.strip():
        return False
    if max(len(answer), len(gold)) > CHARACTER_LIMIT:
        return answer.strip() == gold.strip()
    try:
        with budget(CALL_LIMIT):
            return equivalent(normalise(answer), normalise(gold))
    except (Exception, OutOfBudgetError):  # sympy raises anything on odd input
        return False


def equivalent(answer: str, gold: str) -> bool:
    """Whether two normalised strings say the same."""
    answer, gold = without_name(answer), without_name(gold)
    if UNIT not in gold:
        answer = re.sub(rf"{re.escape(UNIT)}\^\d", "", answer)  # said more than was asked
    if answer == gold:
        return True
    if is_words(answer) or is_words(gold):
        return answer.casefold() == gold.casefold()
    return _same_shape(shape_of(answer), shape_of(gold))


def _same_shape(answer: Shape, gold: Shape) -> bool:
    if answer.kind != gold.kind or len(answer.parts) != len(gold.parts):
        return False
    if answer.kind == "value":
        return _same_value(answer.parts[0], gold.parts[0])
    if answer.kind == "equation":
        return _same_equation(answer.parts, gold.parts)
    if answer.kind in _UNORDERED:
        return _same_elements(answer.parts, gold.parts)
    return all(map(equivalent, answer.parts, gold.parts))


def _same_elements(answer: tuple[str, ...], gold: tuple[str, ...]) -> bool:
    """Whether each element of one is an element of the other, once."""
    left = list(gold)
    for element in answer:
        match = next((other for other in left if equivalent(element, other)), None)
        if match is None:
            return False
        left.remove(match)
    return not left


def _same_equation(answer: tuple[str, ...], gold: tuple[str, ...]) -> bool:
    """Whether terms were at most moved from one side to the other."""
    ours, theirs = (read(sides[0]) - read(sides[1]) for sides in (answer, gold))
    return equal(ours, theirs) or equal(ours, -theirs)


def _same_value(answer: str, gold: str) -> bool:
    strict = (integer(answer), integer(gold))
    if any(value is not None for value in strict):
        return strict[0] == strict[1]
    plain = (fraction(answer), fraction(gold))
    if all(value is not None for value in plain):
        return plain[0] == plain[1]
    try:
        return equal(read(answer), read(gold))
    except Unreadable:
        return False


def integer(text: str) -> str | None:
    """Digits of an integer, with its sign; None for anything else, or a decimal with a fraction."""
    match = _INTEGER.match(text)
    if match is None:
        return None
    return match[2] if match[1] != "-" or match[2] == "0" else f"-{match[2]}"


def fraction(text: str) -> tuple[str, ...] | None:
    """Sign, numerator and denominator as written, before anything is cancelled."""
    match = _FRACTION.match(text)
    if match is None:
        return None
    top, bottom = match["top"] or match["over"], match["bottom"] or match["under"]
    negative = (match[1] + top).count("-") == 1
    return ("-" if negative else "", top.lstrip("+-"), bottom)


def equal(ours: Expr, theirs: Expr) -> bool:
    """Whether the difference simplifies to zero.

    Most wrong answers are told by their value at one point; only what agrees there is worth the
    cost of simplifying.
    """
    if ours == theirs:
        return True
    if _differ_at_probe(ours, theirs):
        return False
    difference = ours - theirs
    if difference.is_Number:
        return bool(difference == 0)
    if max(terms(difference)) > TERM_LIMIT:
        return False
    return bool(sympy.expand(difference) == 0 or sympy.simplify(difference) == 0)


def terms(expression: Expr) -> tuple[int, int]:
    """At most how many terms numerator and denominator have, once all is multiplied out."""
    if expression.is_Add or expression.is_Mul:
        parts = [terms(part) for part in expression.args]
        return _capped(*reduce(_added if expression.is_Add else _multiplied, parts))
    if expression.is_Pow and expression.exp.is_Integer:
        over, under = terms(expression.base)
        times = abs(int(expression.exp))
        powers = (comb(over + times - 1, times), comb(under + times - 1, times))
        return _capped(*(powers if expression.exp > 0 else powers[::-1]))
    # A root or a function is one term, but what it is taken of is multiplied out too.
    return max((max(terms(part)) for part in expression.args), default=1), 1


def _added(one: tuple[int, int], other: tuple[int, int]) -> tuple[int, int]:
    return one[0] * other[1] + other[0] * one[1], one[1] * other[1]


def _multiplied(one: tuple[int, int], other: tuple[int, int]) -> tuple[int, int]:
    return one[0] * other[0], one[1] * other[1]


def _capped(over: int, under: int) -> tuple[int, int]:
    """Counts that say "too many" as well as larger ones, and cost nothing to calculate with."""
    return min(over, 2 * TERM_LIMIT), min(under, 2 * TERM_LIMIT)


def _differ_at_probe(ours: Expr, theirs: Expr) -> bool:
    try:
        our_value, their_value = at_probe(ours), at_probe(theirs)
    except (TypeError, ValueError, OverflowError, ArithmeticError):
        return False  # no number there: nothing is known
    return abs(our_value - their_value) > 1e-9 * (1 + abs(our_value) + abs(their_value))
