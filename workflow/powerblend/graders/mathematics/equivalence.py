r"""The primary grader: whether an answer is the reference answer, and by which rule.

Equal spellings are equal. Otherwise the rules below are asked one after the other, each for one
kind of answer: choices, sets, lists, equations, words, matrices, tuples, quantities. The first one
that knows the kind decides. Knows nothing about completions or boxes.
"""

from powerblend.graders.base import Judgement
from powerblend.graders.mathematics.brackets import without_braces
from powerblend.graders.mathematics.budget import OutOfBudgetError, budget
from powerblend.graders.mathematics.normalise import CHARACTER_LIMIT, normalise
from powerblend.graders.mathematics.order import order_does_not_matter
from powerblend.graders.mathematics.rule import Rule
from powerblend.graders.mathematics.rules_chains import (
    same_after_names,
    same_equation,
    same_membership,
    same_modulus,
)
from powerblend.graders.mathematics.rules_lists import (
    same_decimal_comma,
    same_lists,
    same_thousands,
)
from powerblend.graders.mathematics.rules_structures import (
    same_matrices,
    same_sets_of_reals,
    same_tuples,
)
from powerblend.graders.mathematics.rules_values import (
    same_base,
    same_choice,
    same_phrase,
    same_quantity,
    same_ratios,
    same_time,
    same_values,
)

CALL_LIMIT = 6_000_000
"""Of functions, while one answer is graded: a second or two, where most take a millisecond."""


def grade(answer: str | None, gold: str, problem: str = "") -> bool:
    """Whether the answer is right. Takes any string: what cannot be understood is not right.

    The text of the problem decides whether a list may be in any order. The work is bounded by
    counts, not by a clock, so that the verdict is the same everywhere.
    """
    return explain(answer, gold, problem).correct


def explain(answer: str | None, gold: str, problem: str = "") -> Judgement:
    r"""The same verdict as ``grade``, with the rule that it is due to.

    >>> explain("x = 0.5", r"\frac{1}{2}")
    Judgement(correct=True, rule='a name before it; the same value')
    """
    if answer is None or not answer.strip():
        return Judgement(False, None)
    if max(len(answer), len(gold)) > CHARACTER_LIMIT:
        same = answer.strip() == gold.strip()
        return Judgement(same, "the same spelling" if same else None)
    try:
        ours, theirs, any_order = normalise(answer), normalise(gold), order_does_not_matter(problem)
        with budget(CALL_LIMIT):  # counting doubles what each call costs
            rule = why_same(ours, theirs, any_order)
    except (Exception, OutOfBudgetError):  # sympy raises anything on odd input
        rule = None
    return Judgement(bool(rule), rule or None)


def why_same(answer: str, gold: str, any_order: bool = False) -> str | None:
    """Which rule makes two normalised strings equal, or None."""
    answer, gold = without_braces(answer), without_braces(gold)
    if answer == gold:
        return "the same spelling" if answer else None
    if any_order:
        rule = same_lists(answer, gold, why_same, any_order=True)
        if rule is not None:
            return rule or None
    for decide in RULES:
        rule = decide(answer, gold, why_same)
        if rule is not None:
            return rule or None
    return None


RULES: tuple[Rule, ...] = (
    same_choice, same_time, same_modulus, same_membership, same_sets_of_reals, same_decimal_comma,
    same_thousands, same_lists, same_equation, same_after_names, same_quantity, same_base,
    same_matrices, same_phrase, same_tuples, same_ratios, same_values,
)  # fmt: skip
"""In order: a rule relies on what those before it have taken apart."""
