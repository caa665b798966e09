r"""The second opinion: Math-Verify's verdict on the same strings.

Imported by workers only: it is slow to import, and on hostile input it may run for hours, which its
own alarm does not always end. Answers are handed over inside a box, so that of its extractors only
the LaTeX one is needed; the other would pass them to ``eval``. Knows nothing about our own grader.
"""

import logging
from functools import lru_cache
from typing import Any

from math_verify import LatexExtractionConfig, parse, verify

from powerblend.graders.mathematics.normalise import CHARACTER_LIMIT

STEP_SECONDS = 2
"""For each parse and each comparison, in whole seconds as an alarm takes them."""

_EXTRACTION = (LatexExtractionConfig(),)

for _library in ("math_verify", "latex2sympy2_extended"):
    logging.getLogger(_library).setLevel(logging.CRITICAL)


def second_opinion(answer: str, gold: str) -> bool | None:
    """Whether Math-Verify accepts the answer; None for one that is too long to be asked about."""
    if max(len(answer), len(gold)) > CHARACTER_LIMIT:
        return None
    return bool(verify(_parse(gold), _parse(answer), timeout_seconds=STEP_SECONDS))


@lru_cache(maxsize=4096)
def _parse(text: str) -> list[Any]:
    return parse(rf"\boxed{{{text}}}", _EXTRACTION, parsing_timeout=STEP_SECONDS)
