r"""Rules for single values: quantities, numbers in a base, ratios, times, choices, words.

Knows how a value may be said otherwise, and nothing about lists or names.
"""

import re

from sympy import Expr, Integer

from powerblend.graders.mathematics.names import is_name, sides_of
from powerblend.graders.mathematics.rule import DIFFERENT, Same, after
from powerblend.graders.mathematics.shape import ratio_of
from powerblend.graders.mathematics.units import OTHER
from powerblend.graders.mathematics.values import equal, equal_strings, number, same_value
from powerblend.graders.mathematics.words import choice_of, chosen, is_words, same_words, time_of

_IN_BASE = re.compile(r"(?=[0-9A-F]*\d)[0-9A-F]+_(?:\d|\{\d+\})")


def quantity(text: str) -> tuple[str, str | None]:
    """A value and the name of its unit."""
    found = re.fullmatch(r"(.+)\\unit\{([^{}]*)\}", text, re.DOTALL)
    return (found[1], found[2]) if found else (text, None)


def quantity_value(text: str) -> Expr | None:
    """The number that a quantity is, without its unit but for per cent; None if it is none."""
    value, unit = quantity(text)
    worth = number_in_base(value) if _IN_BASE.fullmatch(value) else number(value)
    return worth / 100 if worth is not None and unit == "percent" else worth


def same_quantity(answer: str, gold: str, same: Same) -> str | None:
    """A unit may be left out; where there are two, they are the same."""
    (ours, unit), (theirs, other) = map(quantity, (answer, gold))
    if unit is None and other is None:
        return None
    if unit and other and not _same_unit(unit, other):
        return DIFFERENT
    rule = same(ours, theirs)
    if rule:
        return after("a unit left out" if None in (unit, other) else "the same unit", rule)
    if (unit == "percent") != (other == "percent"):
        values = quantity_value(answer), quantity_value(gold)
        if None not in values and equal(*values):
            return "per cent as a fraction"
    if "degree" in (unit, other) and r"\pi" in ours + theirs:
        scaled = [rf"{text}\cdot\frac{{\pi}}{{180}}" if named == "degree" else text
                  for text, named in ((f"({ours})", unit), (f"({theirs})", other))]  # fmt: skip
        return "degrees and radians" if equal_strings(*scaled) else DIFFERENT
    return DIFFERENT


def _same_unit(unit: str, other: str) -> bool:
    """Whether two names are of one unit, as far as is known; "unit" is any of the same power."""
    (name, _, power), (other_name, _, other_power) = unit.partition("^"), other.partition("^")
    if OTHER in (unit, other) or unit == other:
        return True
    return "unit" in (name, other_name) and power == other_power


def same_base(answer: str, gold: str, same: Same) -> str | None:
    """A number in a named base is its digits and its base."""
    return DIFFERENT if _IN_BASE.fullmatch(answer) or _IN_BASE.fullmatch(gold) else None


def number_in_base(text: str) -> Expr | None:
    """The integer that digits with a base write, or None where these are no digits of that base."""
    digits, _, base = text.partition("_")
    try:
        return Integer(int(digits, int(base.strip("{}"))))
    except ValueError:
        return None


def same_ratios(answer: str, gold: str, same: Same) -> str | None:
    """Part by part; a ratio of two may be written as a fraction."""
    theirs, ours = ratio_of(gold), ratio_of(answer)
    if ours is None and theirs is None:
        return None
    if ours is None or theirs is None:
        top, *bottom = ours or theirs or []
        quotient = rf"\frac{{{top}}}{{{''.join(bottom)}}}"
        equal_fraction = len(bottom) == 1 and same_value(gold if ours else answer, quotient)
        return "a ratio as a fraction" if equal_fraction else DIFFERENT
    equal_parts = len(ours) == len(theirs) and all(map(same, ours, theirs))
    return "the same ratio" if equal_parts else DIFFERENT


def same_values(answer: str, gold: str, same: Same) -> str | None:
    """Anything else is a value."""
    return "the same value" if same_value(answer, gold) else DIFFERENT


def same_time(answer: str, gold: str, same: Same) -> str | None:
    """Two times of day are one, however a.m. and p.m. are written."""
    ours, theirs = time_of(answer), time_of(gold)
    if ours is None or theirs is None:
        return None
    return "the same time" if ours == theirs else DIFFERENT


def same_choice(answer: str, gold: str, same: Same) -> str | None:
    """The letter of a choice, with or without brackets, a name, or what the choice says."""
    letter = choice_of(gold)
    if letter is None:
        alone = re.fullmatch(
            r"(?:\\text\{)?(?:option|choice|answer)?:?\(?([A-J])[).]?\}?", answer, re.IGNORECASE
        )
        return "the same choice" if alone and alone[1] == gold else None
    *before, last = sides_of(answer)
    if not all(is_name(side.text) for side in before):
        return DIFFERENT
    return "the same choice" if chosen(last.text) == letter else DIFFERENT


def same_phrase(answer: str, gold: str, same: Same) -> str | None:
    """Words are compared letter by letter, and are no values."""
    if not (is_words(answer) or is_words(gold)):
        return None
    return "the same words" if same_words(answer, gold) else DIFFERENT
