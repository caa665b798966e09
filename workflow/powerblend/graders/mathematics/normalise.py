r"""One spelling for answers that differ in typesetting only.

``normalise`` is a sequence of rewritings of strings, each for a general habit of writing: units,
thousands separators, ``\dfrac``. Knows nothing about values: 1/2 and 0.5 stay two spellings.
"""

import re
from collections.abc import Callable

CHARACTER_LIMIT = 1000
"""Characters; longer answers are taken as they stand. No reference answer comes near."""

UNIT = r"\unit"
"""Stands for a unit with a power, whatever its name."""

Step = Callable[[str], str]

_CHARACTERS = str.maketrans(
    {
        "−": "-", "–": "-", "∞": r"\infty ", "π": r"\pi ", "θ": r"\theta ", "°": r"^\circ ",
        "×": r"\times ", "·": r"\cdot ", "÷": r"\div ", "∪": r"\cup ", "≤": r"\le ", "≥": r"\ge ",
        "±": r"\pm ", "²": "^2", "³": "^3", "½": r"\frac{1}{2}", "，": ",", "\xa0": " ",
    }
)  # fmt: skip

_WRAPPER = r"\\(?:mbox|textbf|textit|textrm|textnormal|mathrm|mathbf|mathit|mathsf|bf|rm)(?=\s*\{)"
_UNITS = (
    "cm", "mm", "km", "met(?:er|re)", "(?:centi|kilo)met(?:er|re)", "in", "inch(?:e)?", "foot",
    "feet", "ft", "yard", "mile", "second", "sec", "minute", "min", "hour", "hr", "day", "week",
    "month", "year", "degree", "deg", "dollar", "cent", "mph", "lit(?:er|re)", "kg",
    "(?:kilo)?gram", "pound", "(?:square |cubic )?unit", "percent", "point",
)  # fmt: skip
_POWER = r"(?:\s*\^\s*\{?([23])\}?)?"

_REWRITES: tuple[tuple[str, str], ...] = (
    # What the eye does not see: sizes, spaces, dollars, per cent signs.
    (r"\\(?:left|right|[bB]igg?[lr]?|displaystyle|limits)(?![A-Za-z])\s*", ""),
    (r",\s*\\!\s*(?=\d)|\{,\}(?=\d)|(?<=\d)\\,(?=\d{3})", ","),
    (r"(?<!\\)\\[!,;:> ]|\\q?quad(?![A-Za-z])|~", " "),
    (r"\\?[$%]", ""),
    # One name for each command.
    (r"\\[dtc]frac(?![A-Za-z])", r"\\frac"),
    (r"\\(le|ge|ne)q(?![A-Za-z])", r"\\\1"),
    (r"\\operatorname\*?\s*\{([A-Za-z]+)\}", r"\\\1 "),
    (r"\\l?brace(?![A-Za-z])", r"\\{"),
    (r"\\rbrace(?![A-Za-z])", r"\\}"),
    (_WRAPPER, r"\\text"),
    (r"√\s*(\d+)", r"\\sqrt{\1}"),
    (r"√", r"\\sqrt "),
    (r"\*\*", "^"),
    (r"\^\s*\{\s*\\circ\s*\}|\\degree(?![A-Za-z])", r"^\\circ"),
)
_COMPILED = tuple((re.compile(pattern), replacement) for pattern, replacement in _REWRITES)

_TEXT_UNIT = re.compile(r"(?<=[\w})\].])\s*\\text\s*\{[^{}\d]*\}" + _POWER + r"\s*\.?\s*$")
_BARE_UNIT = re.compile(
    rf"(?<=[\d}}.])\s*(?:{'|'.join(_UNITS)})s?{_POWER}\s*\.?\s*$", re.IGNORECASE
)
_THOUSANDS = re.compile(r"(?<![\d.,])\d{1,3}(?:,\d{3})+(?!\d)")
_MIXED = re.compile(r"^(-?\d+)\s+(\d+)\s*/\s*(\d+)$")
_COMMAND_THEN_LETTER = re.compile(r"(\\[A-Za-z]+)\s+(?=[A-Za-z])")


def normalise(text: str) -> str:
    """The answer in its plainest spelling; longer than ``CHARACTER_LIMIT`` it is only stripped."""
    if len(text) > CHARACTER_LIMIT:
        return text.strip()
    for step in STEPS:
        text = step(text)
    return text


def _characters(text: str) -> str:
    """Unicode mathematics as LaTeX, control characters as spaces."""
    text = text.translate(_CHARACTERS)
    return "".join(char if char.isprintable() else " " for char in text).strip()


def _commands(text: str) -> str:
    for pattern, replacement in _COMPILED:
        text = pattern.sub(replacement, text)
    return text.strip().removesuffix("\\\\").strip()


def unwrap(text: str) -> str:
    r"""Contents of ``{...}``, ``\text{...}``, ``\(...\)``, ``\[...\]`` around the whole answer."""
    while True:
        inner = _inside(text)
        if inner is None:
            return text
        text = inner.strip()


def _inside(text: str) -> str | None:
    if (text[:2], text[-2:]) in ((r"\(", r"\)"), (r"\[", r"\]")):
        return text[2:-2]
    opening = re.match(r"(?:\\text\s*)?\{", text)
    if opening and closing_brace(text, opening.end()) == len(text) - 1:
        return text[opening.end() : -1]
    return None


def closing_brace(text: str, start: int) -> int:
    """Where the group whose contents begin at ``start`` closes; -1 where it never does."""
    depth = 1
    for token in re.compile(r"\\.|[{}]").finditer(text, start):
        depth += {"{": 1, "}": -1}.get(token[0], 0)
        if depth == 0:
            return token.start()
    return -1


def _units(text: str) -> str:
    """Without the unit behind a quantity and the full stop that ends such a phrase.

    The name of a unit is forgotten, its power is kept: 15 is not 15 square centimetres.
    """
    text = re.sub(r"\s*\^\s*\\circ(?![A-Za-z])", "", text)
    for unit in (_TEXT_UNIT, _BARE_UNIT) if text.count(r"\text") < 2 else ():
        text = unit.sub(lambda found: rf"{UNIT}^{found[1]}" if found[1] else "", text)
    return text


def _thousands(text: str) -> str:
    """Without the commas of 1,234,567; where there are brackets a comma separates elements."""
    if re.search(r"[(\[]|\\\{", text):
        return text
    return _THOUSANDS.sub(lambda number: number[0].replace(",", ""), text)


def _mixed_number(text: str) -> str:
    r"""``1 4/5`` as ``1\frac{4}{5}``, while its space can still be seen."""
    return _MIXED.sub(r"\1\\frac{\2}{\3}", text)


def _spaces(text: str) -> str:
    r"""Without spaces, except the one that ends a command's name, as in ``\pi r``."""
    return re.sub(r"\s", "", _COMMAND_THEN_LETTER.sub("\\1\0", text)).replace("\0", " ")


def _braces(text: str) -> str:
    r"""``\frac34`` as ``\frac{3}{4}``, ``\sqrt2`` as ``\sqrt{2}``, ``x^{2}`` as ``x^2``."""
    text = re.sub(r"\\(frac|sqrt) ?([0-9A-Za-z])", r"\\\1{\2}", text)
    text = re.sub(r"(\\frac\{[^{}]*\})([0-9A-Za-z])", r"\1{\2}", text)
    return re.sub(r"([_^])\{([0-9A-Za-z])\}", r"\1\2", text)


def _full_stop(text: str) -> str:
    r"""``\frac{1}{2}.`` as ``\frac{1}{2.}``: behind a digit it can only be a decimal point."""
    return re.sub(r"(\}\{[^{}]*\d)\}\.$", r"\1.}", text)


def _choice(text: str) -> str:
    """The letter of a multiple choice without its brackets."""
    return re.sub(r"^\(([A-Za-z])\)$", r"\1", text)


STEPS: tuple[Step, ...] = (
    _characters, _commands, unwrap, _units, _thousands, _mixed_number, unwrap, _spaces, _braces,
    _full_stop, _choice,
)  # fmt: skip
"""In order: a step relies on the spelling that earlier ones leave."""
