r"""Rules for what has a relation in it: names, equations, values that are worked out in the box.

Knows which sides there are and what they are for, and nothing about how values are written.
"""

from itertools import pairwise

from sympy import Expr

from powerblend.graders.mathematics import names
from powerblend.graders.mathematics.parsing import Unreadable, read
from powerblend.graders.mathematics.rule import DIFFERENT, Same, after
from powerblend.graders.mathematics.rules_values import quantity, quantity_value
from powerblend.graders.mathematics.values import equal, equal_strings, number, rounds_to


def same_modulus(answer: str, gold: str, same: Same) -> str | None:
    """A residue is what it is modulo; the modulus need not be said again."""
    (ours, modulus), (theirs, other) = map(names.without_modulus, (answer, gold))
    if modulus is None and other is None:
        return None
    if modulus and other and modulus != other:
        return DIFFERENT
    return after("modulus left out", same(_residue(ours, modulus), theirs))


def _residue(text: str, modulus: str | None) -> str:
    r"""5 of ``17 \equiv 5``, where the two are congruent."""
    before, _, residue = text.rpartition(r"\equiv")
    if not before or modulus is None or not modulus.isdigit() or int(modulus) == 0:
        return text
    value, rest = (number(names.sides_of(part)[-1].text) for part in (before, residue))
    if value is None or rest is None or not (value.is_Integer and rest.is_Integer):
        return text
    return residue.strip() if (value - rest) % int(modulus) == 0 else text


def same_membership(answer: str, gold: str, same: Same) -> str | None:
    r"""``x \in S`` is S."""
    ours, theirs = names.without_membership(answer), names.without_membership(gold)
    if (ours, theirs) == (answer, gold):
        return None
    return after("a name before it", same(ours, theirs)) or None


def same_equation(answer: str, gold: str, same: Same) -> str | None:
    """Both are equations: terms were at most moved to the other side, or names differ."""
    ours, theirs = names.sides_of(answer), names.sides_of(gold)
    if len(theirs) != 2 or theirs[1].relation != "=":
        return None
    if len(ours) == 2 and ours[1].relation == "=" and _moved(ours, theirs):
        return "the same equation"
    if names.is_name(theirs[0].text):
        return after("a name before it", same(answer, theirs[1].text))
    if len(ours) == 2 and all(same(o.text, t.text) for o, t in zip(ours, theirs, strict=True)):
        return "the same equation"
    return DIFFERENT


def _moved(ours: list[names.Side], theirs: list[names.Side]) -> bool:
    try:
        one, other = (read(sides[0].text) - read(sides[1].text) for sides in (ours, theirs))
    except Unreadable:
        return False
    return equal(one, other) or equal(one, -other)


def same_after_names(answer: str, gold: str, same: Same) -> str | None:
    """The value at the end of a chain, if what stands before it is a name or says the same."""
    sides = names.sides_of(answer)
    if len(sides) < 2:
        return None
    if sides[-1].text == "0" and not names.is_name(sides[0].text) and names.letters(sides[0].text):
        return DIFFERENT  # an equation in standard form
    count = next((k for k, side in enumerate(sides) if not _is_named(side.text, gold)), len(sides))
    values = sides[min(count, len(sides) - 1) :]
    if count:  # formulas in other letters stand between a name and the value
        allowed = names.letters(values[-1].text)
        values = [side for side in values if names.letters(side.text) <= allowed]
    if not _consistent(values):
        return DIFFERENT
    found = next(filter(None, (same(side.text, gold) for side in reversed(values))), None)
    if found is None:
        return DIFFERENT
    return after("worked out" if len(values) > 1 else "a name before it", found)


def _is_named(side: str, gold: str) -> bool:
    return names.is_name(side) or (not names.letters(gold) and names.letters(side) != set()
                                   and names.is_quantity(side))  # fmt: skip


def _consistent(sides: list[names.Side]) -> bool:
    """Whether the sides of a chain say the same, decimals up to the places that they have."""
    for (before, _), (behind, _) in pairwise(sides):
        if before == behind:
            continue
        one, other = map(quantity_value, (before, behind))
        if one is None or other is None:
            if not equal_strings(before, behind):
                return False
        elif not (equal(one, other) or _rounds(one, behind) or _rounds(other, before)):
            return False
    return True


def _rounds(value: Expr, side: str) -> bool:
    return rounds_to(value, quantity(side)[0])
