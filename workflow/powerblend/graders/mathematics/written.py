r"""Integers and plain fractions as they are written, before anything is worked out.

4 is not accepted as ``8/2``, nor 1/2 as ``2/4``, for the answer was to be worked out. Knows no
algebra: the numbers stay strings.
"""

import re

_INTEGER = re.compile(r"([+-]?)0*(\d+)(?:\.0*)?\Z")
_FRACTION = re.compile(
    r"([+-]?)(?:\\frac\{(?P<top>[+-]?\d+)\}\{(?P<bottom>-?\d+)\}|(?P<over>\d+)/(?P<under>\d+))\Z"
)
_IN_BRACKETS = re.compile(r"\A\((-?\d+(?:\.\d+)?)\)\Z")


def without_brackets(text: str) -> str:
    """5 of ``(5)``; anything but a number in brackets stays as it is."""
    return _IN_BRACKETS.sub(r"\1", text)


def same_as_written(answer: str, gold: str) -> bool | None:
    """Whether two integers or two plain fractions are the same; None where one is something else.

    An integer is the same as nothing but an integer.
    """
    integers = (integer(answer), integer(gold))
    if any(value is not None for value in integers):
        return integers[0] == integers[1]
    fractions = (fraction(answer), fraction(gold))
    if all(value is not None for value in fractions):
        return fractions[0] == fractions[1]
    return None


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
    negative = (match[1] + top + bottom).count("-") % 2 == 1
    return ("-" if negative else "", top.lstrip("+-"), bottom.lstrip("-"))
