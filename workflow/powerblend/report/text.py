"""Values as text: numbers as a reader wants them, and foreign strings that stay strings.

What a model or a dataset wrote is never markup here: `escaped` is for tables and sentences,
`code_block` for whole files.
"""

import re
from collections.abc import Iterable, Sequence

MAX_LENGTH = 80
"""Characters of a foreign string that a table shows."""

ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;", "|": "&#124;", "`": "&#96;"}
SPECIAL = frozenset("\\*_{}[]()#+!~$")


def escaped(value: object, max_length: int = MAX_LENGTH) -> str:
    """A foreign string as text, in a table or in a sentence; a dash for None."""
    if value is None:
        return "—"
    visible = "".join(c if c.isprintable() else " " for c in str(value))
    short = visible if len(visible) <= max_length else visible[: max_length - 1] + "…"
    inert = "".join(ENTITIES.get(c, f"\\{c}" if c in SPECIAL else c) for c in short)
    # Neither markup nor a link, though renderers make links of bare addresses.
    linkless = re.sub(r":(?=//)", r"\\:", inert)
    return re.sub(r"(?i)\bwww\.", lambda match: match[0][:-1] + "\\.", linkless).strip()


def code_block(text: str, language: str = "") -> str:
    """A fenced block that its content cannot end."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{text.rstrip()}\n{fence}"


def percent(share: float | None, digits: int = 1) -> str:
    """A share in [0, 1] as a percentage, a dash where there is none."""
    return "—" if share is None else f"{share:.{digits}%}"


def number(value: float | None, digits: int = 1) -> str:
    """A number, a dash where there is none."""
    return "—" if value is None else f"{value:.{digits}f}".replace("-", "−")


def points(difference: float | None, unit: str = " points") -> str:
    """A difference of shares in percentage points, with its sign."""
    if difference is None:
        return "—"
    rounded = round(100 * difference, 1)
    sign = "+" if rounded > 0 else "−" if rounded < 0 else "±"
    return f"{sign}{abs(rounded):.1f}{unit}"


def p_value(p: float | None) -> str:
    """A p-value to four decimals."""
    if p is None:
        return "—"
    return "< 0.0001" if p < 0.0001 else f"{p:.4f}"


def interval(low: float | None, high: float | None) -> str:
    """An interval of percentage points."""
    if low is None or high is None:
        return "—"
    return f"{points(low, '')} to {points(high, '')}"


def id_list(ids: Sequence[object]) -> str:
    """Problem ids in a sentence."""
    return ", ".join(map(escaped, ids)) or "none"


def count(n: int, noun: str, plural: str = "") -> str:
    """``1 problem``, ``2 problems``."""
    return f"{n} {noun if n == 1 else plural or noun + 's'}"


def series(words: Iterable[str]) -> str:
    """``a, b and c``."""
    *most, last = words
    return f"{', '.join(most)} and {last}" if most else last


def table(header: Sequence[str], rows: Iterable[Sequence[object]], names: int = 1) -> str:
    """A Markdown table; the first ``names`` columns to the left, numbers to the right."""
    rule = [":--"] * names + ["--:"] * (len(header) - names)
    lines = [header, rule, *rows]
    return "\n".join("| " + " | ".join(str(value) for value in line) + " |" for line in lines)


def named(conditions: Sequence[str] | str) -> str:
    """Conditions as code, whether one or several."""
    names = [conditions] if isinstance(conditions, str) else conditions
    return series(f"`{name}`" for name in names)
