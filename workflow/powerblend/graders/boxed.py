r"""The answer of a completion: what stands in its last ``\boxed{}`` or ``\fbox{}``.

Knows nothing about mathematics: the answer is a string, and whether it is right is for the graders.
"""

import re

# Escaped braces are text in LaTeX, so that a backslash always takes the next character with it; but
# \\boxed is a box whose backslash was escaped.
_TOKEN = re.compile(r"(?P<box>\\\\?(?:boxed|fbox)(?![A-Za-z])\s*)(?P<open>\{)?|\\.|[{}]", re.DOTALL)
_BARE = re.compile(r"\\[A-Za-z]+(?:\[[^\[\]{}]*\])?|\\[,;:!%$]|[^\s$\\{}]+|\{")
_GROUP = re.compile(r"\\.|[{}]", re.DOTALL)
_PROSE = re.compile(r"[A-Za-z]{2,}[.,;:!?]*\Z")
_EMPHASIS = re.compile(r"(\*\*|__|`)(.+)\1\Z", re.DOTALL)
_BETWEEN_BOXES = re.compile(
    r"(?:[\s$,;.]|\\[,;:() ]|\\q?quad|\\text\s*\{\s*(?:,\s*)?(?:and|or)\s*\}|\band\b|\bor\b|\*"
    r"|[A-Za-z](?:_\{?\d\}?)?\s*=)*\Z"
)


def extract_boxed(completion: str) -> str | None:
    r"""Contents of the last complete box, or None where there is none.

    Braces are balanced; a box that the end of the text cuts off is not complete. Of nested boxes
    the inner one counts. ``\boxed 5``, without braces, holds everything up to a space or a dollar
    sign, and ``\boxed\frac12`` the command; a word behind ``\boxed`` is prose. A box counts as
    empty only if there is no other. What is in a ``<think>`` that the end of the text cuts off is
    no answer. One pass, so that a hostile text costs no more than its length.
    """
    boxes = _boxes(completion)
    return _contents(completion, boxes[-1]) if boxes else None


def extract_boxed_list(completion: str) -> str | None:
    r"""The boxes that follow one another at the end, as one list: ``\boxed{1} and \boxed{2}``."""
    boxes = _boxes(completion)
    if not boxes:
        return None
    listed = [boxes[-1]]
    for box in reversed(boxes[:-1]):
        between = completion[box[1] : listed[0][0]].lstrip("}")
        if not _BETWEEN_BOXES.match(re.sub(r"\\(?:boxed|fbox)\s*\{?\Z", "", between)):
            break
        listed.insert(0, box)
    return ", ".join(_contents(completion, box) for box in listed)


def _contents(completion: str, box: tuple[int, int]) -> str:
    inside = completion[slice(*box)].strip()
    emphasised = _EMPHASIS.match(inside)
    return emphasised[2].strip() if emphasised else inside


def _boxes(completion: str) -> list[tuple[int, int]]:
    """Where the contents of boxes are, in order; empty ones and outer ones are left out."""
    end = len(completion)
    thought = completion.rfind("<think>")
    if thought > completion.rfind("</think>"):
        end = thought
    spans: list[tuple[int, int]] = []
    opened: list[int | None] = []  # where each open brace's box begins; None: not a box
    for token in _TOKEN.finditer(completion, 0, end):
        span = None
        if token["box"] and not token["open"]:
            span = _bare(completion, token.end())
        elif token["box"]:
            opened.append(token.end())
        elif token[0] == "{":
            opened.append(None)
        elif token[0] == "}" and opened and (start := opened.pop()) is not None:
            span = (start, token.start())
        if span and (not spans or span[0] > spans[-1][0]):
            spans.append(span)
    full = [span for span in spans if completion[slice(*span)].strip()]
    return full or spans[-1:]


def _bare(text: str, start: int) -> tuple[int, int] | None:
    """Span of an answer that is written without braces, less the punctuation after it."""
    end = start
    while token := _BARE.match(text, end):
        closed = _closing(text, token.end()) if token[0] == "{" else token.end()
        if closed is None:
            break
        end = closed
    word = text[start:end].rstrip(".,;:")
    prose = _PROSE.match(word) and text[start - 1].isspace()
    return (start, start + len(word)) if word and not prose else None


def _closing(text: str, start: int) -> int | None:
    depth = 1
    for token in _GROUP.finditer(text, start):
        depth += {"{": 1, "}": -1}.get(token[0], 0)
        if depth == 0:
            return token.end()
    return None
