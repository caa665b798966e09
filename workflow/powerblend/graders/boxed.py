r"""The answer of a completion: what stands in its last ``\boxed{}`` or ``\fbox{}``.

Knows nothing about mathematics: the answer is a string, and whether it is right is for the graders.
"""

import re

# Escaped braces are text in LaTeX, so that a backslash always takes the next character with it.
_TOKEN = re.compile(r"(?P<box>\\(?:boxed|fbox)(?![A-Za-z])\s*)(?P<open>\{)?|\\.|[{}]", re.DOTALL)
_BARE = re.compile(r"[^\s$\\{}]+")


def extract_boxed(completion: str) -> str | None:
    r"""Contents of the last complete box, or None where there is none.

    Braces are balanced; a box that the end of the text cuts off is not complete. Of nested boxes
    the inner one counts. ``\boxed 5``, without braces, holds everything up to a space or a dollar
    sign. One pass, so that a hostile text costs no more than its length.
    """
    best: tuple[int, int] | None = None
    opened: list[int | None] = []  # where each open brace's box begins; None: not a box
    for token in _TOKEN.finditer(completion):
        span = None
        if token["box"] and not token["open"]:
            span = _bare(completion, token.end())
        elif token["box"]:
            opened.append(token.end())
        elif token[0] == "{":
            opened.append(None)
        elif token[0] == "}" and opened and (start := opened.pop()) is not None:
            span = (start, token.start())
        if span and (best is None or span[0] > best[0]):
            best = span
    return completion[slice(*best)].strip() if best else None


def _bare(text: str, start: int) -> tuple[int, int] | None:
    """Span of an answer that is written without braces, less the punctuation after it."""
    word = _BARE.match(text, start)
    if word is None:
        return None
    return start, start + len(word[0].rstrip(".,;:"))
