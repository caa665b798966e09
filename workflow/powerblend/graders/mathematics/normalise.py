r"""One spelling for answers that differ in typesetting only.

``normalise`` is a sequence of rewritings of strings, each for a general habit of writing: Unicode,
fonts, units, thousands separators, ``\dfrac``. Knows nothing about values: 1/2 and 0.5 stay two
spellings.
"""

import re
from collections.abc import Callable
from functools import lru_cache

from powerblend.graders.mathematics.brackets import closing_brace
from powerblend.graders.mathematics.characters import plain_characters
from powerblend.graders.mathematics.commands import plain_commands
from powerblend.graders.mathematics.numbers import number_in_base, number_in_words, plain_numbers
from powerblend.graders.mathematics.units import marked_units

CHARACTER_LIMIT = 1000
"""Longer answers are taken as they stand. No reference answer comes near."""

Step = Callable[[str], str]

_COMMAND_THEN_LETTER = re.compile(r"(\\[A-Za-z]+)\s+(?=[A-Za-z])")
_LEADING_WORDS = re.compile(
    r"^\s*(?:\\therefore(?![A-Za-z])|\\text\s*\{\s*(?:so|thus|hence|therefore)\s*,?\s*\}"
    r"|\\text\s*\{[^{}\d]*(?:\b(?:is|are|answer|result|total)\b|:)\s*(?:an?|the)?\s*\}"
    r"|(?:\\text\s*\{\s*)?(?:(?:the\s+)?(?:final\s+)?answers?(?:\s+(?:is|are)\b|\s*:)"
    r"|it\s+is\b)\s*(?:an?\s)?)\s*(?=\S)",
    re.IGNORECASE,
)
_ARTICLE = re.compile(r"^(\\text\s*\{)?\s*(?:an?|the)\s+(?=[A-Za-z]{4})", re.IGNORECASE)
_HEDGE = re.compile(r"^\s*(?:\\approx|\\sim|\\text\s*\{\s*(?:approximately|about)\s*\})\s*")
_CONJUNCTION = re.compile(
    r",?\s*\\text\s*\{\s*,?\s*(and|or)\s*,?\s*\}\s*,?|\\(lor|vee|land|wedge)\b"
)
_BARE_CONJUNCTION = re.compile(r"(?<=[\w)}\]])\s*,?\s+(and|or)\s+(?=[\w(\\+-])")
_SET = r"(?:\\in\s*\\set[ZNQR]\s*[+^*>0-9]*|\\text\s*\{[^{}]*integer[^{}]*\})"
_RANGE = re.compile(
    r"\s*(?:[,;(]|\\text\s*\{\s*[,(]?\s*(?:for|where|with)?(?:\s*(?:any|all|some|each|every))?\s*\})+"
    rf"\s*\(?\s*[a-z]\s*{_SET}\s*\)?\s*\Z"
    r"|\s*,?\s*\\text\s*\{[^{}]*\b(?:for|where|with)\b[^{}]*integers?\s*\}\s*[a-z]\s*\)?\s*\Z"
)
_SYSTEM = re.compile(
    r"(?:\\\{)?\s*\\begin\{(cases|aligned|align\*?|array)\}(?:\{[lcr]*\})?(.*)\\end\{\1\}\s*",
    re.DOTALL,
)
_ASSIGNMENT = re.compile(r"\s*(?:[A-Za-z]|\\[a-z]+)(?:_\{?\w\}?)?\s*=[^=&]*\Z")
_TO = re.compile(r"(?<=\d)\s*(?:\\text\s*\{\s*to\s*\}|to)\s*(?=\d)")


@lru_cache(maxsize=4096)  # references and the commonest answers come again and again
def normalise(text: str) -> str:
    """The answer in its plainest spelling; longer than ``CHARACTER_LIMIT`` it is only stripped."""
    if len(text) > CHARACTER_LIMIT:
        return text.strip()
    for step in STEPS:
        text = step(text)
    return text


def spelling(text: str) -> str:
    """The same without units, for answers to one problem to be counted together."""
    return re.sub(r"\\unit\{[^{}]*\}", "", normalise(text))


def unwrapped(text: str) -> str:
    r"""Contents of ``{...}``, ``\text{...}``, ``\(...\)``, ``\[...\]`` around the whole answer."""
    while True:
        inner = _inside(text)
        if inner is None:
            return text
        text = inner.strip()


def unwrapped_words(text: str) -> str:
    r"""``odd`` of ``\text{odd}``, which is no product of letters."""
    word = re.fullmatch(r"\\text\s*\{([^{}]*)\}", text)
    return word[1] if word else text


def _inside(text: str) -> str | None:
    if re.fullmatch(r"\\text\s*\{\s*[A-Za-z]{2,}\s*\}", text):
        return None  # a word stays a word
    if (text[:2], text[-2:]) in ((r"\(", r"\)"), (r"\[", r"\]")):
        return text[2:-2]
    opening = re.match(r"(?:\\text\s*)?\{", text)
    if opening and closing_brace(text, opening.end()) == len(text) - 1:
        return text[opening.end() : -1]
    return None


def _punctuation(text: str) -> str:
    """Without the full stop, comma or semicolon that ends a sentence."""
    ended = re.sub(r"(?:\s|\\text\s*\{\s*[.,;]\s*\}|[.,;])+\Z", "", text)
    return re.sub(r"[.,;]\s*\}\Z", "}", ended) if r"\text" in ended else ended


def _introduction(text: str) -> str:
    """Without "the answer is", an article, a hedge or what it follows from before it."""
    conclusion = text.rpartition(r"\Rightarrow")[2]
    rest = _LEADING_WORDS.sub("", conclusion if "=" in conclusion else text)
    if rest.count("{") < rest.count("}"):  # the words stood inside of what they introduce
        rest = rest.removesuffix("}")
    return _HEDGE.sub("", _ARTICLE.sub(r"\1", rest))


def _conjunctions(text: str) -> str:
    r"""``\and`` and ``\or`` for the words between two parts."""
    text = _TO.sub(":", text)
    text = _CONJUNCTION.sub(
        lambda m: r"\or " if m[1] == "or" or m[2] in ("lor", "vee") else r"\and ", text
    )
    if re.search(r"\b(?:and|or)\b", text) and r"\text" not in text:
        rest = re.sub(r"\b(?:and|or)\b|\\[A-Za-z]+", " ", text)
        if not re.search(r"[A-Za-z]{4,}", rest):
            text = _BARE_CONJUNCTION.sub(r"\\\1 ", text)
    return text


def _system(text: str) -> str:
    r"""The rows of a system ``\begin{cases} x=3 \\ y=5 \end{cases}`` as a list."""
    found = _SYSTEM.fullmatch(text)
    rows = [row.strip(" ,.&") for row in found[2].split("\\\\")] if found else []
    single = [row.replace("&", "") for row in rows if row]
    return ", ".join(single) if single and all(map(_ASSIGNMENT.match, single)) else text


def _range_of_parameter(text: str) -> str:
    r"""Without ``, k \in \mathbb{Z}``, which says what everybody takes k to be."""
    found = _RANGE.search(text)
    return text[: found.start()].rstrip(" ,;(") if found and found.start() else text


def _words_as_number(text: str) -> str:
    value = number_in_words(unwrapped_words(text)) if len(text) < 60 else None
    return text if value is None else str(value)


def _spaces(text: str) -> str:
    r"""Without spaces, except the one that ends a command's name, as in ``\pi r``."""
    text = re.sub(r"\\(circ|gap)\s+", r"\\\1 ", text)
    return re.sub(r"\s", "", _COMMAND_THEN_LETTER.sub("\\1\0", text)).replace("\0", " ")


def _braces(text: str) -> str:
    r"""``\frac34`` as ``\frac{3}{4}``, ``\sqrt2`` as ``\sqrt{2}``, ``x^{2}`` as ``x^2``."""
    text = re.sub(r"\\sqrt ?(\d+)", r"\\sqrt{\1}", text)
    text = re.sub(r"\\(frac|sqrt) ?([0-9A-Za-z])", r"\\\1{\2}", text)
    text = re.sub(r"(\\frac\{[^{}]*\})([0-9A-Za-z])", r"\1{\2}", text)
    return re.sub(r"([_^])\{([0-9A-Za-z])\}", r"\1\2", text)


STEPS: tuple[Step, ...] = (
    plain_characters, plain_commands, _punctuation, unwrapped, _introduction, _punctuation,
    unwrapped, _words_as_number, number_in_base, _system, _conjunctions, _range_of_parameter,
    plain_numbers, marked_units, unwrapped, _spaces, _braces,
)  # fmt: skip
"""In order: a step relies on the spelling that earlier ones leave."""
