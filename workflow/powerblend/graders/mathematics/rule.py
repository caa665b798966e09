"""What a rule is: it decides about two answers of the kind that it knows.

Knows no rule, and nothing about any kind of answer.
"""

from collections.abc import Callable

DIFFERENT = ""
"""What a rule says of two answers of its kind that are not equal."""

Same = Callable[[str, str], str | None]
"""Which rule makes two normalised strings equal, or None: handed to rules for parts of answers."""

Rule = Callable[[str, str, Same], str | None]
"""From two normalised strings to why they are equal, DIFFERENT, or None for another kind."""


def after(what: str, rule: str | None) -> str:
    """A rule that was met after something was left out of account."""
    return f"{what}; {rule}" if rule else DIFFERENT
