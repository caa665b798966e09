r"""Sets of real numbers: intervals, inequalities, unions, all numbers but some.

``5<x<7`` is ``(5,7)``, ``x \le 0`` is ``(-\infty,0]``, ``x \ne 2`` is all but one point. Knows sets
with numbers for ends only, and nothing about lists of values.
"""

import re

import sympy
from sympy import Expr, Interval, S, Set, Symbol

from powerblend.graders.mathematics.brackets import enclosed, split, split_keeping
from powerblend.graders.mathematics.names import plain_name, without_membership
from powerblend.graders.mathematics.parsing import Unreadable, read
from powerblend.graders.mathematics.values import equal, number

_ORDERS = ("<", ">", r"\le", r"\ge", r"\ne", "=")
_MIRRORED = {"<": ">", ">": "<", r"\le": r"\ge", r"\ge": r"\le", r"\ne": r"\ne", "=": "="}
_EVIDENT = re.compile(
    r"<|>|\\(?:le|ge|ne|cup|cap|setminus|in|setR)(?![A-Za-z])|\\infty ?[)\]\[]|[(\[\]][-+]?\\infty"
    r"|^\(.*\]$|^\[.*\)$|^\].*,|,.*\[$|\\\{.*(?:\||:|\\mid)"
)
_BUILDER = re.compile(r"\\\{([A-Za-z])(?:\\in ?\\setR ?)?(?:\\mid ?|\||:)(.*)\\\}\Z")
_ALL = re.compile(
    r"(?:\\text\{)?(?:x(?:is|canbe)?)?(?:all|any)(?:the)?real(?:number)?s?(?:x)?\}?\Z", re.I
)

_ALL_BUT = re.compile(
    r"(?:\\text\{)?(?:all)?real(?:number)?s?(?:x)?(?:except|but|otherthan)(?:for)?\}?(?:[a-z]=)?(.+)\Z",
    re.IGNORECASE,
)


def is_evident_set(text: str) -> bool:
    """Whether a string can only be a set of numbers or a condition for one."""
    return bool(_EVIDENT.search(text) or _ALL.match(text) or _ALL_BUT.match(text))


def same_reals(answer: str, gold: str) -> bool | None:
    """Whether two strings are the same set of real numbers; None where one is no such set."""
    ours, theirs = real_set(answer), real_set(gold)
    if ours is None or theirs is None:
        return None
    if ours == theirs:
        return True
    pieces = _pieces(ours), _pieces(theirs)
    if None in pieces or len(pieces[0] or ()) != len(pieces[1] or ()):
        return False
    return all(map(_same_piece, pieces[0] or (), pieces[1] or ()))


def same_condition(answer: str, gold: str) -> bool:
    """Whether two inequalities have the same sides, in this or the opposite order."""
    ours, theirs = split_keeping(answer, *_ORDERS), split_keeping(gold, *_ORDERS)
    if len(ours) != len(theirs) or len(ours) < 2:
        return False
    return _same_sides(ours, theirs) or _same_sides(_mirrored(ours), theirs)


def real_set(text: str) -> Set | None:
    """The set that a string writes, as an interval or as a condition, or None."""
    text = re.sub(r"^\\setR ?-", r"\\setR\\setminus ", without_membership(text))
    builder = _BUILDER.match(text)
    if builder:
        return real_set(builder[2])
    text = re.sub(r"\\ne ?\\pm ?(.+)\Z", r"\\ne \1,-\1", text)
    text = re.sub(
        r"^(.*\\ne ?)([^,]+),(?!.*\\ne)(.+)\Z", r"\1\2,\1\3", text
    )  # x is neither a nor b
    exception = _ALL_BUT.match(text)
    if exception:
        points = _points(rf"\{{{exception[1]}\}}")
        return None if points is None else sympy.Complement(S.Reals, points)
    if _ALL.match(text) or text.strip() in (r"\setR", r"(\setR)"):
        return S.Reals
    if text.strip() == r"\emptyset":
        return S.EmptySet
    for separators, combine in (
        ((r"\cup", r"\or"), sympy.Union), ((r"\cap", r"\and"), sympy.Intersection),
        ((r"\setminus",), sympy.Complement),
    ):  # fmt: skip
        parts = split(text, *separators)
        if len(parts) > 1 and all(parts):
            sets = [real_set(part) for part in parts]
            return None if None in sets else combine(*sets)
    if enclosed(text) and text[0] == "(" and text[-1] == ")" and len(split(text[1:-1], ",")) == 1:
        return real_set(text[1:-1])
    conditions = split(text, ",")
    if len(conditions) > 1 and all(len(split(part, *_ORDERS)) > 1 for part in conditions):
        sets = [real_set(part) for part in conditions]
        # What cannot hold at once is meant to be either: x<-2, x>2.
        return None if None in sets else sympy.Intersection(*sets) or sympy.Union(*sets)
    return _points(text) or _interval(text) or _inequality(text)


def _points(text: str) -> Set | None:
    if not (text[:2] == r"\{" and text[-2:] == r"\}" and enclosed(text)):
        return None
    values = [_real(part) for part in split(text[2:-2], ",")]
    return None if None in values else sympy.FiniteSet(*values)


def _interval(text: str) -> Set | None:
    r"""``(a,b]``, and ``]a,b]`` as it is written in French."""
    if len(text) < 2 or text[0] not in "([]" or text[-1] not in ")][":
        return None
    ends = [_real(part) for part in split(text[1:-1], ",")]
    if len(ends) != 2 or ends[0] is None or ends[1] is None:
        return None
    return Interval(*ends, left_open=text[0] in "(]", right_open=text[-1] in ")[")


def _inequality(text: str) -> Set | None:
    r"""A chain such as ``-2 < x \le 7`` or ``2x > 10``, with one letter and linear in it."""
    sides = split_keeping(text, *_ORDERS)
    if len(sides) < 2:
        return None
    try:
        values = [read(side) for side, _ in sides]
    except Unreadable:
        return None
    unknowns = set().union(*(value.free_symbols for value in values))
    if len(unknowns) != 1:
        return None
    unknown = unknowns.pop()
    solutions = [
        _solved(before, after, order, unknown)
        for before, after, (_, order) in zip(values, values[1:], sides[1:], strict=False)
    ]
    return None if None in solutions else sympy.Intersection(*solutions)


def _solved(before: Expr, after: Expr, order: str, unknown: Symbol) -> Set | None:
    below = order in ("<", r"\le")
    if before.is_infinite or after.is_infinite:
        least, most = (before, after) if below else (after, before)
        return S.Reals if least == -sympy.oo or most == sympy.oo else S.EmptySet
    difference = before - after
    slope = sympy.expand(difference).coeff(unknown, 1)
    rest = sympy.expand(difference - slope * unknown)
    if slope == 0 or slope.free_symbols or rest.free_symbols or not slope.is_real:
        return None
    bound = -rest / slope
    if not bound.is_real:
        return None
    if order == "=":
        return sympy.FiniteSet(bound)
    if order == r"\ne":
        return sympy.Complement(S.Reals, sympy.FiniteSet(bound))
    is_open = order in ("<", ">")
    if below == bool(slope > 0):
        return Interval(-sympy.oo, bound, left_open=True, right_open=is_open)
    return Interval(bound, sympy.oo, left_open=is_open, right_open=True)


def _real(text: str) -> Expr | None:
    value = number(text)
    return value if value is not None and value.is_extended_real else None


def _pieces(numbers: Set) -> list[tuple[Expr, Expr, bool, bool]] | None:
    """Intervals from left to right, as ends and whether these are left out."""
    pieces = []
    for part in numbers.args if isinstance(numbers, sympy.Union) else (numbers,):
        if isinstance(part, sympy.FiniteSet):
            pieces += [(point, point, False, False) for point in part.args]
        elif isinstance(part, Interval):
            pieces.append((part.start, part.end, bool(part.left_open), bool(part.right_open)))
        else:
            return None
    return sorted(pieces, key=lambda piece: float(piece[0]))


def _same_piece(ours: tuple[Expr, Expr, bool, bool], theirs: tuple[Expr, Expr, bool, bool]) -> bool:
    return ours[2:] == theirs[2:] and all(map(equal, ours[:2], theirs[:2]))


def _mirrored(sides: list[tuple[str, str]]) -> list[tuple[str, str]]:
    texts = [side for side, _ in reversed(sides)]
    orders = ["", *(_MIRRORED[order] for _, order in reversed(sides[1:]))]
    return list(zip(texts, orders, strict=True))


def _same_sides(ours: list[tuple[str, str]], theirs: list[tuple[str, str]]) -> bool:
    try:
        return all(
            order == other and equal(read(side), read(another))
            for (side, order), (another, other) in zip(ours, theirs, strict=True)
        )
    except Unreadable:
        return False


def named_letter(text: str) -> str | None:
    """The letter that a condition is about."""
    names = [plain_name(side) for side, _ in split_keeping(text, *_ORDERS)]
    return next((name for name in names if name), None)
