"""What pydantic finds wrong with a mapping, in sentences for its author."""

import re
from collections.abc import Iterator, Sequence

from pydantic import ValidationError

KIND = re.compile(r"(constrained-)?(int|float|str)|\w*\[.*\]")
"""What pydantic puts behind a key that may hold values of several kinds."""

TAGGED = ("blend", "grading")
"""Keys behind which it puts the name of what they hold."""


def sentences(error: ValidationError, where: str = "") -> Iterator[str]:
    """One sentence per error, with the key's full path, its value and what is allowed."""
    for problem in error.errors():
        path = ".".join(filter(None, [where, *_keys(problem["loc"])]))
        if problem["type"] == "value_error":
            reason = str(problem["ctx"]["error"])
            # Errors of conditions bring the paths of their own keys.
            yield f"{path}: {reason}" if path else reason
        elif problem["type"] == "extra_forbidden":
            yield f"{path}: unknown key (its value is {problem['input']!r})"
        elif problem["type"] == "union_tag_invalid" and problem["loc"][-1:] == ("blend",):
            expected = problem["ctx"]["expected_tags"]
            yield f"{path}.source: there is no {problem['ctx']['tag']!r}; use one of {expected}"
        elif problem["type"] == "union_tag_not_found" and problem["loc"][-1:] == ("blend",):
            yield (
                f"{path}: give a mapping, as {{'source': 'layer', 'layer': 27, 'beta': 0.05}} "
                f"(it is {problem['input']!r})"
            )
        elif problem["type"] == "missing":
            yield f"{path}: missing"
        else:
            yield f"{path}: {problem['msg']} (it is {problem['input']!r})"


def _keys(place: Sequence[int | str]) -> list[str]:
    """The keys that lead to a place, without what pydantic adds to them."""
    pairs = zip(("", *place), map(str, place), strict=False)
    return [key for before, key in pairs if before not in TAGGED and not KIND.fullmatch(key)]
