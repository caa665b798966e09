r"""Grading: the answer of a completion, and whether it is the reference answer.

>>> grade(extract_boxed(r"... so the answer is \boxed{\frac12}."), "0.5")
True

``explain`` says by which rule, and ``GraderPool`` gives the same verdict and a second opinion on
many answers, whatever they are.
"""

from powerblend.graders.base import Judgement, Verdict
from powerblend.graders.boxed import extract_boxed
from powerblend.graders.mathematics.equivalence import explain, grade
from powerblend.graders.mathematics.pool import GraderPool, Pair

__all__ = ["GraderPool", "Judgement", "Pair", "Verdict", "explain", "extract_boxed", "grade"]
