r"""Rules for lists: ``\{1,2,3\}``, ``x=3 \text{ or } x=5``, ``1 \pm \sqrt5``, ``x=3,y=5``.

Knows what is a list and in which order it is read, and nothing about elements.
"""

import re
from collections.abc import Sequence

from powerblend.graders.mathematics import names
from powerblend.graders.mathematics.rule import DIFFERENT, Same
from powerblend.graders.mathematics.shape import Elements, elements_of, tuple_of
from powerblend.graders.mathematics.values import may_be_equal, probe, same_value

_SIGNS = (r"\pm", r"\mp")


def same_decimal_comma(answer: str, gold: str, same: Same) -> str | None:
    """1,5 is a list, and 1.5 where the reference is that."""
    written = re.fullmatch(r"-?\d+,\d+", answer) and re.fullmatch(r"-?\d+\.\d+", gold)
    return "a decimal comma" if written and answer.replace(",", ".") == gold else None


def same_thousands(answer: str, gold: str, same: Same) -> str | None:
    """1, 234 is a list, and a number with a space too much where the reference is that number."""
    joined = re.fullmatch(r"-?\d{1,3}(?:,\d{3})+", answer) and answer.replace(",", "")
    return "the same digits" if joined == gold else None


def same_lists(answer: str, gold: str, same: Same, any_order: bool = False) -> str | None:
    """Element by element, in any order where one of them is a set or has ± in it."""
    ours, theirs = elements_of(_without_name(answer)), elements_of(_without_name(gold))
    several = max(len(ours.parts), len(theirs.parts)) > 1
    signs = any(sign in text for sign in _SIGNS for text in (answer, gold))
    sets = ours.is_set or theirs.is_set
    if r"\emptyset" in ours.parts + theirs.parts and ours.is_set != theirs.is_set:
        return DIFFERENT  # the set of the empty set is not empty
    named = _same_assignments(ours, theirs, gold, same)
    if named is not None or not (several or sets or signs):
        return named
    answers, golds = _without_common_name(ours.parts), _without_common_name(theirs.parts)
    if len(answers) == len(golds) > 1 and all(map(same, answers, golds)):
        return "the same elements"
    if signs and not several and same_value(answers[0], golds[0]):
        return "the same value"
    if len(golds) == 1 and len(answers) > 1 and not signs:
        both_forms = ours.joined_by_or and all(same(part, golds[0]) for part in answers)
        return "the same value in several forms" if both_forms else DIFFERENT
    unordered = sets or ours.joined_by_or or signs or any_order
    if unordered and _same_elements(_both_signs(answers), _both_signs(golds), same):
        return "the same elements in any order"
    return DIFFERENT if several or signs else None


def _without_name(text: str) -> str:
    r"""The set of ``S = \{1,2\}``."""
    sides = names.sides_of(text)
    named = len(sides) == 2 and names.is_name(sides[0].text) and sides[1].text.startswith(r"\{")
    return sides[1].text if named else text


def _same_assignments(ours: Elements, theirs: Elements, gold: str, same: Same) -> str | None:
    """Names and values, as in ``x=3, y=5``, against the same or against the values alone."""
    answers, golds = _assignments(ours.parts), _assignments(theirs.parts)
    values_alone = tuple_of(ours.parts[0]) if len(ours.parts) == 1 else None
    if values_alone and golds and len(theirs.parts) == len(values_alone[1]) > 1:
        in_order = [golds[name] for name in sorted(golds)]
        return "names left out" if all(map(same, values_alone[1], in_order)) else DIFFERENT
    if answers is None or len(answers) < 2 or (len(ours.parts) == 1 and golds is None):
        return None
    if golds is not None and answers.keys() & golds.keys():
        equal = answers.keys() == golds.keys() and all(
            same(answers[name], golds[name]) for name in golds
        )
        return "the same values of the same names" if equal else DIFFERENT
    pair = tuple_of(gold)
    values = list(golds.values()) if golds else pair[1] if pair else theirs.parts
    latin = all(len(name) == 1 for name in answers)
    in_order = [answers[name] for name in (sorted(answers) if latin else answers)]
    if len(values) == len(in_order) and all(map(same, in_order, values)):
        return "names before the values"
    return DIFFERENT if pair else None


def _assignments(parts: tuple[str, ...]) -> dict[str, str] | None:
    """Values by names, where every part has a name of its own."""
    pairs = [names.sides_of(part) for part in parts]
    if len(pairs) == 1 and len(pairs[0]) == 2:  # (x,y) = (1,2)
        left, right = (tuple_of(side.text) for side in pairs[0])
        if left and right and len(left[1]) == len(right[1]) and all(map(names.plain_name, left[1])):
            return dict(zip(left[1], right[1], strict=True))
    if any(len(sides) != 2 or names.plain_name(sides[0].text) is None for sides in pairs):
        return None
    values = {sides[0].text: sides[1].text for sides in pairs}
    return values if len(values) == len(parts) else None


def _without_common_name(parts: tuple[str, ...]) -> list[str]:
    """``x=1,2,3`` and ``x=1,x=2`` without the name."""
    split = [names.sides_of(part) for part in parts]
    if not all(len(sides) <= 2 for sides in split):
        return list(parts)
    before = {sides[0].text for sides in split if len(sides) == 2}
    if len(before) != 1 or not names.is_name(before.pop()) or len(split[0]) != 2:
        return list(parts)
    return [sides[-1].text for sides in split]


def _both_signs(parts: list[str]) -> list[str]:
    """Each part with a double sign as two, for the upper signs and for the lower ones."""
    expanded = []
    for part in parts:
        if any(sign in part for sign in _SIGNS):
            for upper, lower in (("+", "-"), ("-", "+")):
                sign = re.sub(r"\\pm ?", upper, re.sub(r"\\mp ?", lower, part))
                expanded.append(re.sub(r"^\+|(?<=[(,=])\+", "", sign))
        else:
            expanded.append(part)
    return expanded


def _same_elements(answer: Sequence[str], gold: Sequence[str], same: Same) -> bool:
    """Whether each element of one is an element of the other, once."""
    if len(answer) != len(gold):
        return False
    left = [(probe(element), element) for element in gold]
    for element in answer:
        value = probe(element)
        candidates = (pair for pair in left if may_be_equal(value, pair[0]))
        match = next((pair for pair in candidates if same(element, pair[1])), None)
        if match is None:
            return False
        left.remove(match)
    return True
