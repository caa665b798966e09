r"""Typesetting left out and one name for each command: ``\dfrac 34`` is ``\frac{3}{4}``.

Sizes, colours, fonts and spaces say nothing about a value. What remains of fonts is ``\text{...}``
around words. Knows nothing about numbers or units.
"""

import re
from collections.abc import Callable

from powerblend.graders.mathematics.brackets import closing_brace

_TYPESETTING: tuple[tuple[str, str], ...] = (
    # Backslashes that were escaped once too often.
    (r"(?<!\\)\\\\(?=(?:[dt]?frac|sqrt|pi|infty|left|right|text|cdot|times|circ|cup|pm|theta)(?![a-z]))",
     r"\\"),
    # Sizes, and delimiters that are not there.
    (r"\\(?:left|right|middle)\s*\.", ""),
    (r"\\(?:left|right|middle|[bB]igg?[lrm]?)(?![A-Za-z])\s*", ""),
    (r"(?<=[\d}])\s*\\q?quad\s*(?=[A-Za-z]\s*=)", ", "),
    (r"\\(?:display|text|script|scriptscript)style(?![A-Za-z])\s*|\\(?:no)?limits(?![A-Za-z])", ""),
    (r"\\(?:tiny|small|normalsize|large|Large|LARGE|huge|Huge|strut|mathstrut)(?![A-Za-z])\s*", ""),
    # Spaces; the comma of a large number is kept to be looked at.
    (r",\s*\\!\s*(?=\d)|\{,\}(?=\d{3}(?!\d))|(?<=\d)\\,(?=\d{3}(?!\d))", ","),
    (r"(?<=\d)\{,\}(?=\d)", "."),
    (r"\\[hv]space\*?\s*\{[^{}]*\}", " "),
    (r"\\(?:checkmark|blacksquare|qed|square)(?![A-Za-z])\s*\Z", ""),
    (r"\\(?:hfill|newline|thinspace|enspace|noindent)(?![A-Za-z])", " "),
    (r"(?<!\\)\\[,!;:> ]|\\q?quad(?![A-Za-z])|~", " "),
    (r"(?<=\w)\{\}|^\{\}", ""),
    # Markdown and quotation marks.
    (r"^\s*(?:\*+|__|`+)(.+?)(?:\*+|__|`+)\s*$", r"\1"),
    (r"^\s*(?:``|[\"'`])\s*(.+?)\s*(?:''|[\"'`])\s*$", r"\1"),
    # One name for each command.
    (r"\\(?:[dtcs]|nice)frac(?![A-Za-z])", r"\\frac"),
    (r"\\[dt]binom(?![A-Za-z])", r"\\binom"),
    (r"\\(frac|binom)\s*(\d)\s*(\d)", r"\\\1{\2}{\3}"),
    (r"\\(frac|binom)\s*(\{[^{}]*\})\s+(\d)", r"\\\1\2{\3}"),
    (r"\{\s*([^{}]*?)\s*\\choose(?![A-Za-z])\s*([^{}]*?)\s*\}", r"\\binom{\1}{\2}"),
    (r"\{\s*([^{}]*?)\s*\\over(?![A-Za-z])\s*([^{}]*?)\s*\}", r"\\frac{\1}{\2}"),
    (r"\\(le|ge)(?:q|qq|qslant)?(?![A-Za-z])", r"\\\1"),
    (r"\\neq(?![A-Za-z])|\\not\s*=", r"\\ne"),
    (r"\\lt(?![A-Za-z])", "<"),
    (r"\\gt(?![A-Za-z])", ">"),
    (r"(?<![<>=])<=(?!>)", r"\\le "),
    (r">=", r"\\ge "),
    (r"!=", r"\\ne "),
    (r"\\big(cup|cap)(?![A-Za-z])", r"\\\1"),
    (r"\\(?:setminus|smallsetminus|backslash)(?![A-Za-z])", r"\\setminus "),
    (r"\\(?:varnothing|empty)(?![A-Za-z])|\\\{\s*\\\}", r"\\emptyset "),
    (r"\\[lr]vert(?![A-Za-z])|\\[lr]?vert(?![A-Za-z])", "|"),
    (r"\\l?brace(?![A-Za-z])", r"\\{"),
    (r"\\rbrace(?![A-Za-z])", r"\\}"),
    (r"\\lbrack(?![A-Za-z])", "["),
    (r"\\rbrack(?![A-Za-z])", "]"),
    (r"\\colon(?![A-Za-z])|(?<=\d)\{:\}", ":"),
    (r"\\(?:dots|ldots|cdots|dotsc|dotsb)(?![A-Za-z])|\.\.\.", r"\\ldots "),
    (r"\\(?:mathbb|Bbb|mathds)\s*\{?\s*([RZNQC])\s*\}?", r"\\set\1 "),
    (r"\\cr(?![A-Za-z])", r"\\\\"),
    (r"\\(?:mathbf|mathrm|boldsymbol|bm|text|textbf)\s+([0-9])", r"\1"),
    (r"\A\\(?:bf|rm|it)(?![A-Za-z])\s*", ""),
    (r"\\(?:rightarrow|longrightarrow)(?![A-Za-z])", r"\\to "),
    (r"\\(?:implies|Longrightarrow|iff|Leftrightarrow)(?![A-Za-z])", r"\\Rightarrow "),
    (r"\\(?:pounds|euro|texteuro)(?![A-Za-z])", "£"),
    (r"\*\*", "^"),
    (r"\^\s*\{\s*\\circ\s*\}|\\degree(?![A-Za-z])", r"^\\circ "),
    (r"\\top(?![A-Za-z])", "T"),
    (r"(?<![A-Za-z\\])(?:oo|inf|infinity|infty)(?![A-Za-z])", r"\\infty "),
    (r"(?<![A-Za-z\\])abs\s*\(([^()]*)\)", r"|\1|"),
    (r"\\(?:mathop|operatorname)\*?\s*\{\s*([A-Za-z]+)\s*\}", r"\\\1 "),
    (r"\\(sin|cos|tan|cot|sec|csc)\s*\^\s*\{\s*-\s*1\s*\}", r"\\arc\1 "),
    (r"\\q?quad(?![A-Za-z])", " "),
)  # fmt: skip
_COMPILED = tuple((re.compile(pattern), replacement) for pattern, replacement in _TYPESETTING)

_Replacement = Callable[[str, str], str]
"""From what a group holds, and what stands before it, to what takes its place."""

_STYLE = re.compile(
    r"\\(?:textcolor|colorbox)\s*\{[^{}]*\}\s*\{|\\color\s*\{[^{}]*\}\s*\{?"
    r"|\\(?:boxed|fbox|framebox|boldsymbol|bm|pmb|bold|mathbf|mathit|mathsf|mathtt|mathcal|mathscr"
    r"|mathnormal|underline|uline|ensuremath|smash|mathbin|mathrel|mathord)\s*\{"
    r"|\{\s*\\(?:bf|it|rm|sf|tt|em|boldmath|bfseries)(?![A-Za-z])\s*"
)
_TEXT = re.compile(
    r"\\(?:mbox|hbox|text|textbf|textit|textrm|textsf|texttt|textsc|textup|textnormal|emph|mathrm"
    r"|operatorname)\s*\{"
)
_OUTSIDE_TEXT = re.compile(r"\\text\s*\{[^{}]*\}[\s^0-9]*")
_FUNCTION = re.compile(r"\s*(sin|cos|tan|cot|sec|csc|ln|log|exp|arcsin|arccos|arctan)\s*\Z")
_SYMBOLS = re.compile(r"[\d\s.,:;=+*/^_(){}$\\|<>!-]*\Z")
UNIT_LETTERS = frozenset("mgshLlNJWVKACF")
"""What a single upright letter may stand for behind a number: metres, grams, litres ..."""


def plain_commands(text: str) -> str:
    r"""The text without typesetting; fonts that mark words become ``\text``."""
    if r"\\begin" in text:  # every backslash was escaped
        text = text.replace("\\\\", "\\")
    for pattern, replacement in _COMPILED:
        text = pattern.sub(replacement, text)
    text = _without_groups(text, _STYLE, _styled)
    text = _without_groups(text, _TEXT, _worded)
    text = re.sub(r"(?<!\\)\$", "", text)
    return re.sub(r"\s*(?:\\\\|(?<!\\)\\)\s*\Z", "", text).strip()


def _without_groups(text: str, opening: re.Pattern[str], replace: _Replacement) -> str:
    """The text with each group that a command opens replaced, from the last to the first."""
    for found in reversed(list(opening.finditer(text))):
        if not found[0].endswith("{") and not found[0].startswith("{"):
            text = text[: found.start()] + text[found.end() :]
            continue
        end = closing_brace(text, found.end())
        if end >= 0:
            inside = replace(text[found.end() : end], text[: found.start()])
            text = text[: found.start()] + inside + text[end + 1 :]
    return text


def _styled(inside: str, before: str) -> str:
    inside = inside.strip()
    return inside if len(inside) <= 1 else f"{{{inside}}}"


def _worded(inside: str, before: str) -> str:
    r"""``\text{...}`` again for words; a letter, a function or symbols are what they are."""
    if _FUNCTION.match(inside):
        return rf"\{inside.strip()} "
    bare = inside.strip().replace(r"\$", "")
    if len(bare) == 1 and bare.isalpha():
        behind_number = re.search(r"[\d})]\s*\Z", before)
        return rf"\text{{{bare}}}" if behind_number and bare in UNIT_LETTERS else bare
    if _SYMBOLS.match(bare) or re.fullmatch(r"\\[A-Za-z]+ ?", bare):
        return inside
    if re.fullmatch(r"(?=.*\d)[0-9A-F]+", bare):
        return bare
    if r"\text" in inside and not re.search(r"[A-Za-z]", _OUTSIDE_TEXT.sub("", inside)):
        return inside
    return rf"\text{{{inside}}}"
