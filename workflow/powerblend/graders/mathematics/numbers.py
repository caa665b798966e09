r"""Spellings of numbers: thousands, powers of ten, decimals that repeat, bases, words.

Each step rewrites a string; none of them knows what the number is compared with. A space between
numbers that belong to no such spelling is kept as ``\gap``, for 2 3 is not 23.
"""

import re
from math import gcd

DECIMAL_EXPONENT_LIMIT = 40
"""Zeros that a power of ten may append; with more it stays a power."""

_GROUPED = r"(?<![\d.,_^])\d{1,3}(?:SEPARATOR\d{3})+(?![\d])"
_THOUSANDS = re.compile(_GROUPED.replace("SEPARATOR", ","))
_INDIAN = re.compile(r"(?<![\d.,])\d{1,2}(?:,\d{2})+,\d{3}(?!\d)")
_SPACED = re.compile(_GROUPED.replace("SEPARATOR", r"\s+"))
_APOSTROPHES = re.compile(_GROUPED.replace("SEPARATOR", "'"))
_DOTTED = re.compile(r"(?<![\d.,])\d{1,3}(?:\.\d{3}){2,}(?![\d.])")
_MIXED = re.compile(r"(?<![\d./])(\d+)\s+(\d+)\s*/\s*(\d+)(?![\d.])")
_POWER_OF_TEN = re.compile(
    r"(?<![\w.^])(\d+(?:\.\d+)?)\s*(?:\\times|\\cdot|\*)\s*10\s*\^\s*(?:\{\s*([+-]?\d+)\s*\}|(\d))(?!\d)"
)
_E_NOTATION = re.compile(r"(?<![\w.])(\d+\.\d+|\d+(?=[eE]-))[eE]([+-]?\d{1,4})(?!\w)")
_ALONE = re.compile(r"\A(-?\d+)[eE]\+?(\d{1,2})\Z")
_BAR = re.compile(
    r"(?<![\d.])(\d*)\.(\d*)\\(?:overline|bar|dot|overbar|widebar)\s*(?:\{\s*(\d+)\s*\}|(\d))(?!\d)"
)
_AND_SO_ON = re.compile(r"(?<![\d.])(\d*)\.(\d{2,30})\s*\\ldots(?![A-Za-z])")
_BASE = re.compile(
    r"\(?((?=[0-9A-F]*\d)[0-9A-F]+)\)?\s*(?:_\s*\{?\s*(?:\\text\s*\{)?\s*(?:\(?base\s*\}?)?\s*\(?([a-z]+|\d+)\)?\s*\}?\s*\}?"
    r"|\s*(?:\\text\s*\{)?\s*\(?\s*(?:in\s+)?base[\s-]*\}?\s*([a-z]+|\d+)\s*\)?\s*\}?)\s*\Z"
)

_ONES = [
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
]
_TENS = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
_WORDS = {word: value for value, word in enumerate(_ONES)}
_WORDS |= {word: 10 * value for value, word in enumerate(_TENS, 2)}
_SCALES = {"thousand": 3, "million": 6, "billion": 9, "trillion": 12}
_SCALED = re.compile(
    r"(?<![\w.])(\d+(?:\.\d+)?)\s*(\\text\s*\{)?\s*(thousand|million|billion|trillion)\b\s*"
)


def plain_numbers(text: str) -> str:
    r"""The text with each number in digits, and ``\gap`` where two stand side by side."""
    text = _MIXED.sub(r"\1\\frac{\2}{\3}", text)
    text = _POWER_OF_TEN.sub(lambda n: _shifted(n[0], n[1], n[2] or n[3]), text)
    text = re.sub(r"\A10\s*\^\s*(?:\{\s*(\d+)\s*\}|(\d))\Z", _power_of_ten, text)
    text = _E_NOTATION.sub(lambda n: _shifted(n[0], n[1], n[2]), text)
    text = _ALONE.sub(lambda n: _shifted(n[0], n[1], n[2]), text)
    text = _SCALED.sub(lambda n: _shifted(n[0], n[1], str(_SCALES[n[3]])) + (n[2] or " "), text)
    text = re.sub(r"\\text\s*\{\s*\}", "", text).strip()
    text = _BAR.sub(lambda n: _repeating(n[1], n[2], n[3] or n[4]), text)
    text = _AND_SO_ON.sub(_guessed, text)
    return re.sub(r"(?<![_^\d])(\d+)\s+(?=\d)", r"\1\\gap ", _thousands(text))


def number_in_base(text: str) -> str:
    r"""``(2516)_{\text{eight}}`` and ``2516 base 8`` as ``2516_{8}``."""
    found = _BASE.match(text)
    if found is None:
        return text
    written = found[2] or found[3]
    base = written if written.isdigit() else str(number_in_words(written))
    return f"{found[1]}_{{{base}}}" if base.isdigit() else text


def number_in_words(text: str) -> int | None:
    """The number that is written in words, up to 999,999, or None."""
    words = re.findall(r"[a-z]+", text.lower())
    if not words or re.search(r"[^A-Za-z\s-]", text) or words == ["and"]:
        return None
    total = part = 0
    for word in words:
        if word in _WORDS:
            part += _WORDS[word]
        elif word == "hundred":
            part = 100 * (part or 1)
        elif word == "thousand":
            total, part = total + 1000 * (part or 1), 0
        elif word != "and":
            return None
    return total + part


def _thousands(text: str) -> str:
    """Without the separators of 1,234,567; in brackets a comma separates elements."""
    for pattern in (_SPACED, _APOSTROPHES, _DOTTED):
        text = pattern.sub(lambda number: re.sub(r"\D", "", number[0]), text)
    if re.search(r"[(\[]|\\\{", text):
        return text
    for pattern in (_INDIAN, _THOUSANDS):
        text = pattern.sub(lambda number: number[0].replace(",", ""), text)
    return text


def _shifted(written: str, digits: str, exponent: str) -> str:
    """``digits`` with the point moved, or as ``written`` where that would be very long."""
    places = int(exponent)
    if abs(places) > DECIMAL_EXPONENT_LIMIT:
        return written
    whole, _, decimals = digits.partition(".")
    if places < 0:
        moved = whole.rjust(1 - places, "0")
        return f"{moved[:places]}.{moved[places:]}{decimals}"
    moved = decimals.ljust(places, "0")
    rest = moved[places:].rstrip("0")
    return f"{whole}{moved[:places]}".lstrip("0").rjust(1, "0") + (f".{rest}" if rest else "")


def _power_of_ten(power: re.Match[str]) -> str:
    return _shifted(power[0], "1", power[1] or power[2])


def _repeating(whole: str, once: str, again: str) -> str:
    r"""``0.1\overline{6}`` as the fraction that it is, in lowest terms."""
    bottom = 10 ** len(once) * (10 ** len(again) - 1)
    top = int(f"{whole}{once}{again}") - int(f"0{whole}{once}")
    common = gcd(top, bottom)
    if common == bottom:
        return str(top // bottom)
    return rf"\frac{{{top // common}}}{{{bottom // common}}}"


def _guessed(number: re.Match[str]) -> str:
    """``0.333...``: what has been written three times, or twice if it is longer, goes on."""
    digits = number[2]
    for length in range(1, len(digits) // 2 + 1):
        again = digits[-length:]
        times = 1
        while digits.endswith(again * (times + 1)):
            times += 1
        if times >= (3 if length == 1 else 2):
            return _repeating(number[1] or "0", digits[: len(digits) - length * times], again)
    return number[0]
