r"""Pairs whose verdicts are certain before either grader is asked: plain numbers on both sides.

What the graders would say of ``42`` and ``\frac{2}{4}`` is decided here by integers alone, so that
answers which are all plain numbers need no worker, no sympy and no Math-Verify. Of anything else,
and of decimals that Math-Verify may or may not round to one number, nothing is said.
"""

import re
from fractions import Fraction

from powerblend.graders.base import Verdict
from powerblend.graders.mathematics.normalise import normalise
from powerblend.graders.mathematics.written import same_as_written

_DIGITS = r"\d{1,15}"  # as many as a float of Math-Verify's holds
_PLAIN = re.compile(
    rf"-?(?:{_DIGITS}|[1-9]\d{{0,2}}(?:,\d{{3}}){{1,4}}|\d{{0,7}}\.\d{{1,7}}"
    rf"|{_DIGITS}/0*[1-9]\d{{0,14}}|\\[dt]?frac\{{-?{_DIGITS}\}}\{{-?0*[1-9]\d{{0,14}}\}})",
    re.ASCII,
)
_PARTS = re.compile(r"(-?)(?:\\frac\{)?(-?[\d.]+)(?:(?:/|\}\{)(-?\d+))?")
_ROUNDING = Fraction(2, 10**6)
"""Math-Verify compares decimals at six places: at twice that distance they are two numbers."""


def certain_verdict(answer: str | None, gold: str) -> Verdict | None:
    """The verdict of both graders, with its reason, or None where they have to be asked."""
    if answer is None or not answer.strip():
        return Verdict(False, False, "no answer")
    answer, gold = answer.strip().strip("$"), gold.strip().strip("$")
    if not (_PLAIN.fullmatch(answer) and _PLAIN.fullmatch(gold)):
        return None
    ours, theirs = normalise(answer), normalise(gold)
    distance = abs(_value(ours) - _value(theirs))
    if "." in ours + theirs and 0 < distance <= _ROUNDING:
        return None
    if ours == theirs:
        return Verdict(True, True, rule="the same spelling")
    written = same_as_written(ours, theirs)
    correct = distance == 0 if written is None else written
    return Verdict(correct, distance == 0, rule="the same value" if correct else None)


def _value(text: str) -> Fraction:
    """What a normalised plain number is worth."""
    sign, top, bottom = _PARTS.findall(text)[0]
    value = Fraction(top) / Fraction(bottom or 1)
    return -value if sign else value
