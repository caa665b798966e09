r"""Answers in words: names, choices, times of day.

Letter by letter, whatever the case and the quotation marks; only what frames an answer is left out.
Knows no mathematics but where it begins.
"""

import re

_FUNCTIONS = re.compile(
    r"\\(?:begin|end)\{[A-Za-z]+\}|\\unit\{[^{}]*\}|\\[A-Za-z]+|arc(?:sin|cos|tan)|sqrt|infinity|infty"
)
_CHOICE = re.compile(r"\(([A-Ja-j])\)\Z")
_CHOSEN = re.compile(
    r"(?:\\text\{)?(?:the)?(?:option|choice|answer|statement)?:?"
    r"(?:\(([A-J])\)(?P<rest>.*)|([A-J])[).:]?\}?)\Z",
    re.DOTALL | re.IGNORECASE,
)
_CLOCK = re.compile(r"(\d{1,2})(?::(\d\d))?(?:\\?text\{)?([ap])\.?m\.?\}?\Z", re.IGNORECASE)
_TEXT = re.compile(r"\\text\{([^{}]*)\}")


def is_words(text: str) -> bool:
    """Whether an answer is prose: a word of four letters that is no function, or LaTeX text."""
    return r"\text" in text or bool(re.search(r"[A-Za-z]{4,}", _FUNCTIONS.sub(" ", text)))


def same_words(answer: str, gold: str) -> bool:
    """Whether two phrases have the same letters and digits, but for a plural."""
    return _letters(answer).removesuffix("s") == _letters(gold).removesuffix("s")


def choice_of(gold: str) -> str | None:
    """The letter of a multiple choice, which stands in brackets, or None."""
    found = _CHOICE.match(gold)
    return found[1].upper() if found else None


def chosen(answer: str) -> str | None:
    """The letter that an answer is, or that it has in brackets before what that choice says."""
    found = _CHOSEN.match(answer)
    if found is None or re.search(r"\([A-J]\)|^,|^\\(?:or|and)", found["rest"] or ""):
        return None
    return str(found[1] or found[3]).upper()


def time_of(text: str) -> tuple[int, int, str] | None:
    r"""Hour, minute and half of the day of ``6:30\text{ p.m.}``, or None."""
    found = _CLOCK.match(text)
    return (int(found[1]), int(found[2] or 0), found[3].lower()) if found else None


def _letters(text: str) -> str:
    """Without spaces, braces, quotation marks, hyphens, and punctuation but a decimal point."""
    text = _TEXT.sub(r"\1", text).casefold()
    text = re.sub(r"[\s{}\"'`;!\\]|(?<=[a-z])-(?=[a-z])", "", text)
    return re.sub(r"[.,:](?!\d)|(?<!\d)[.,:]", "", text)
