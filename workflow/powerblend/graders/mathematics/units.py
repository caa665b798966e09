r"""Units of quantities, and currencies: ``5.4 \text{ cents}`` is ``5.4\unit{cent}``.

Only what is known to be a unit, or reads like a noun, counts as one: "or more", "million", "a.m."
or an upright i say something else than the number alone. Knows nothing about values.
"""

import re

OTHER = "?"
"""A unit that is a noun, such as clips, of which we know nothing."""

_NAMES = {
    "cm": "centimeter centimetre", "mm": "millimeter millimetre", "km": "kilometer kilometre",
    "m": "meter metre", "in": "inch inche", "ft": "foot feet", "yd": "yard", "mi": "mile",
    "s": "second sec", "min": "minute", "h": "hour hr", "day": "", "week": "", "month": "",
    "year": "yr", "degree": "deg", "radian": "rad", "dollar": "USD usd buck", "cent": "",
    "euro": "EUR", "pound sterling": "GBP", "mi/h": "mph", "liter": "litre L l",
    "ml": "mL milliliter millilitre", "kg": "kilogram", "g": "gram", "mg": "milligram",
    "lb": "pound", "oz": "ounce", "unit": "", "percent": "%", "point": "pt", "celsius": "",
    "fahrenheit": "", "mol": "mole", "J": "joule", "N": "newton", "W": "watt", "Hz": "hertz",
    "gallon": "gal", "acre": "", "ton": "tonne",
}  # fmt: skip
_CANONICAL = {word: unit for unit, words in _NAMES.items() for word in (unit, *words.split())}

_MEANINGFUL = frozenset(
    """
    or and more less fewer greater above below least most over under than at not no none nor to from
    between a.m p.m am pm base mod if when where for other dozen hundred thousand million billion
    trillion half halves third thirds quarter quarters fourths tens tenths hundredths thousandths
    double twice squared cubed plus minus is are equals pi infinity with without but except unless
    north south east west bc bce ad ce undefined true false approximately about choose factorial
    """.split()  # noqa: SIM905
)
"""Words behind a number that say more than what was counted."""
_MATHEMATICS = re.compile(
    r"(?:arc)?(?:sin|cos|tan|cot|csc|ln|log|exp|sqrt|frac|binom|alpha|beta|gamma|delta|theta|lambda"
    r"|sigma|omega)|sec(?!onds?)|pi(?!nt)|phi|mu\b"
)
_BARE = "|".join(
    sorted(
        (re.escape(word) for word in _CANONICAL if len(word) > 1 and word != "in"),
        key=len,
        reverse=True,
    )
)
_POWER = r"(?:\s*\^\s*\{?\s*(?P<power>[23])\s*\}?)?"
_END = r"\s*(?=$|[,;=]|\\(?:or|and|approx|Rightarrow)\b)"
_TEXT_UNIT = re.compile(r"(?<=[\w})\].])\s*\\text\s*\{(?P<words>[^{}]*)\}" + _POWER + _END)
_BARE_UNIT = re.compile(
    rf"(?<=[\d}}.])\s*(?P<words>(?:(?:square|cubic|sq\.?|cu\.?)\s+)?(?:{_BARE})s?(?![A-Za-z])"
    rf"(?:\s*/\s*(?:{_BARE}|s|h)(?![A-Za-z])|\s+per\s+[a-z]+)?|m(?=\s*\^\s*\{{?[23])|in(?=\s*\^|\s*$)"
    rf"|(?:m|km)/(?:s|h)(?![A-Za-z]))"
    + _POWER + _END,
    re.IGNORECASE,
)  # fmt: skip
_COUNTED = frozenset(
    """
    apple way people person student marble book coin ball box game side number integer solution
    triangle factor divisor term digit card child children boy girl man men woman women player team
    cat dog car page ticket piece point time step unit square circle line path prime pair set
    possibility combination arrangement permutation subset word letter chair seat row egg cookie
    flower tree fish bird house room block tile bag bottle cup slice pizza candy pencil pen friend
    member vote question problem dot edge vertex vertices face diagonal root value zero old total
    different distinct possible rectangle number degree percent each per
    """.split()  # noqa: SIM905
)
"""What is often counted: without ``\\text`` other words may be products of letters."""
_BARE_NOUN = re.compile(
    r"(?<=[\d}.])\s+(?P<words>(?:(?:per\s+)?[A-Za-z]{4,}|per(?=\s)|[A-Za-z]{2,}(?=\s+[A-Za-z]{3}))"
    r"(?:\s+[A-Za-z]{2,})*)" + _END
)
_CURRENCY = re.compile(
    r"(?P<sign>\\\$|\\text\s*\{\s*\\?\$\s*\}|£|€|¥|USD\b|US\\\$)\s*(?P<number>-?[\d.,]*\d)"
)
_CURRENCIES = {"£": "pound sterling", "€": "euro", "¥": "yen"}
_DEGREES = re.compile(
    r"\s*\^\s*\{?\s*\\circ\s*\}?\s*(?:\\text\s*\{\s*)?(?P<scale>[CF](?![a-z]))?\s*\}?"
)
_REMARK = re.compile(r"\\text\s*\{\s*\([^()]{2,}\)\s*\}\s*$")


def marked_units(text: str) -> str:
    r"""The text with each unit as ``\unit{name}``, without the words that it was written in."""
    text = _REMARK.sub("", text).strip()
    text = re.sub(r"\\?%", r"\\unit{percent}", text)
    text = _CURRENCY.sub(
        lambda m: rf"{m['number']}\unit{{{_CURRENCIES.get(m['sign'], 'dollar')}}}", text
    )
    text = re.sub(r"(?<=\d)\s*([€£¥])", lambda m: rf"\unit{{{_CURRENCIES[m[1]]}}}", text)
    text = text.replace(r"\$", "").replace("$", "")
    for pattern in (_TEXT_UNIT, _BARE_UNIT, _BARE_NOUN):
        text = pattern.sub(_marked, text)
    return _marked_degrees(re.sub(r"(\\unit\{[^{}]*\})(?:\s*\\unit\{[^{}]*\})+", r"\1", text))


def unit_name(words: str, power: str | None = None) -> str | None:
    """One name for each unit, ``OTHER`` for a noun, None for what is no unit at all."""
    words = re.sub(r"\([^()]*\)", " ", words).strip(" .,")
    found = re.findall(r"[A-Za-z%]+(?:\.[A-Za-z]+)?|/|\d", words)
    if not found or re.search(r"[\\=<>+:]|\d(?![\d^]*\s*$)", words):
        return None
    if {word.lower() for word in found} & _MEANINGFUL:
        return None
    factor = {"square": "2", "sq": "2", "cubic": "3", "cu": "3"}.get(found[0].lower())
    if factor:
        found, power = found[1:], power or factor
    if found and found[-1] in ("2", "3") and len(found) > 1:
        found, power = found[:-1], power or found[-1]
    names = [_canonical(word) for word in found if word not in ("per", "/")]
    if not names or any(len(word) == 1 for word in found if word not in _CANONICAL and word != "/"):
        return None
    if None in names:
        return OTHER
    name = "/".join(filter(None, names))
    return f"{name}^{power}" if power else name


def _canonical(word: str) -> str | None:
    for form in (word, word.lower(), word.lower().removesuffix("s"), word.removesuffix("s")):
        if form in _CANONICAL:
            return _CANONICAL[form]
    return None


def _marked(found: re.Match[str]) -> str:
    if _MATHEMATICS.match(found["words"].strip()):
        return found[0]
    groups = found.groupdict()
    name = unit_name(groups["words"], groups.get("power"))
    if name == OTHER and found.re is _BARE_NOUN and not _is_counted(groups["words"]):
        return rf"\text{{{groups['words']}}}"
    return found[0] if name is None else rf"\unit{{{name}}}"


def _is_counted(words: str) -> bool:
    forms = (f"{word.lower()} {word.lower().removesuffix('s')}" for word in words.split())
    return all(_COUNTED.intersection(form.split()) or _canonical(form.split()[0]) for form in forms)


def _marked_degrees(text: str) -> str:
    r"""``90^\circ`` as a quantity in degrees; inside of a function it is a number."""
    parts = re.split(r"([,;=<>]|\\(?:or|and|approx|le|ge|in|cup|Rightarrow)\b)", text)
    return "".join(part if k % 2 else _degrees_of_part(part) for k, part in enumerate(parts))


def _degrees_of_part(part: str) -> str:
    if not _DEGREES.search(part) or re.search(
        r"\\(?:arc)?(?:sin|cos|tan|cot|sec|csc|pi)(?![A-Za-z])", part
    ):
        return part
    last = list(_DEGREES.finditer(part))[-1]
    unit = {"C": "celsius", "F": "fahrenheit"}.get(last["scale"] or "", "degree")
    before, after = _DEGREES.sub("", part[: last.start()]), part[last.end() :]
    if after.strip(")]} "):
        return rf"{before}{after.rstrip()}\unit{{{unit}}}"
    return rf"{before}\unit{{{unit}}}{after}"
