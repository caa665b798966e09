r"""The second opinion: Math-Verify's verdict on the same strings.

Imported by workers only: it is slow to import, and on hostile input it may run for hours. Its own
alarm goes by the wall clock, and on a busy machine would make answers wrong that were late; here
processor time counts, and what takes too long has no opinion. Answers are handed over inside a box,
so that of its extractors only the LaTeX one is needed; the other would pass them to ``eval``. Knows
nothing about our own grader.
"""

import contextlib
import logging
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache, partial
from types import FrameType
from typing import Any

from antlr4.atn.PredictionMode import PredictionMode
from latex2sympy2_extended.latex2sympy2 import _Latex2Sympy
from math_verify import LatexExtractionConfig, grader, parse, verify
from sympy import Expr, Integer
from sympy.concrete.expr_with_limits import ExprWithLimits

from powerblend.graders.mathematics.normalise import CHARACTER_LIMIT
from powerblend.graders.mathematics.points import at_probe
from powerblend.graders.mathematics.prediction import predict_sooner

OPINION_SECONDS = 2.0
"""Of processor time, where nearly all take a hundredth of one."""

CLEARLY_DIFFERENT = 1e-6
"""Of two values' size: a difference at the probe that no simplifying makes zero.

The values have fifteen digits, and letters are real to Math-Verify, as they are at the probe.
"""

_EXTRACTION = (LatexExtractionConfig(),)

for _library in ("math_verify", "latex2sympy2_extended"):
    logging.getLogger(_library).setLevel(logging.CRITICAL)


class _OutOfTimeError(BaseException):
    """Not an ``Exception``: Math-Verify catches those, and takes them for a wrong answer."""


_simplified_difference_is_zero = grader.sympy_symbolic_eq


def _difference_is_zero(gold: Any, answer: Any) -> bool:
    """What Math-Verify finds by simplifying, which most wrong answers' values at a point tell.

    Sums, products and integrals are not worked out there: that may take longer than simplifying.
    """
    if all(isinstance(one, Expr) and not one.has(ExprWithLimits) for one in (gold, answer)):
        with contextlib.suppress(Exception):  # no value there: undefined functions, infinities
            one, other = at_probe(gold), at_probe(answer)
            if abs(one - other) > CLEARLY_DIFFERENT * (abs(one) + abs(other)):
                return False
    return bool(_simplified_difference_is_zero(gold, answer))


grader.sympy_symbolic_eq = _difference_is_zero

predict_sooner()

_full_parser, _parse_once = _Latex2Sympy.create_parser, _Latex2Sympy.parse


def _cheap_parser(self: Any, latex: str) -> Any:
    parser = _full_parser(self, latex)
    parser._interp.predictionMode = PredictionMode.SLL
    return parser


def _parse_in_two_stages(self: Any, latex: str) -> Any:
    """What latex2sympy makes of a text, sooner.

    Where ANTLR's cheap prediction (SLL) finds no error, its full one (LL) gives the same tree, but
    remembers nothing from one text to the next (Parr, Harwell & Fisher, "Adaptive LL(*) parsing:
    the power of dynamic analysis", OOPSLA 2014, section 3.2).
    """
    self.create_parser = partial(_cheap_parser, self)
    try:
        return _parse_once(self, latex)
    except Exception:  # what its listener raises at a syntax error
        del self.create_parser
        return _parse_once(self, latex)


_Latex2Sympy.parse = _parse_in_two_stages

_any_number = _Latex2Sympy.parse_number


def _number(self: Any, text: str) -> Any:
    """A number, which latex2sympy has sympy read as it reads any formula, for a millisecond."""
    digits = text.replace(",", "")
    whole = digits.isascii() and digits.isdigit()
    return Integer(digits) if whole else _any_number(self, text)


_Latex2Sympy.parse_number = _number


def second_opinion(answer: str, gold: str) -> bool | None:
    """Whether Math-Verify accepts the answer; None where it takes too long, or the answer does."""
    if max(len(answer), len(gold)) > CHARACTER_LIMIT:
        return None
    try:
        with _limited(OPINION_SECONDS):
            return bool(verify(_parse(gold), _parse(answer), timeout_seconds=None))
    except _OutOfTimeError:
        return None


@lru_cache(maxsize=4096)
def _parse(text: str) -> list[Any]:
    return parse(rf"\boxed{{{text}}}", _EXTRACTION, parsing_timeout=None)


@contextmanager
def _limited(seconds: float) -> Iterator[None]:
    """Raise in the block after so much processor time; of the main thread only."""

    def give_up(number: int, frame: FrameType | None) -> None:
        raise _OutOfTimeError

    before = signal.signal(signal.SIGPROF, give_up)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)
