"""What pydantic finds wrong with a mapping, in sentences for its author."""

import re
from collections.abc import Iterator, Sequence

from pydantic import ValidationError
from pydantic_core import ErrorDetails

KIND = re.compile(r"(constrained-)?(int|float|str)|[\w-]*\[.*\]")
"""What pydantic puts behind a key that may hold values of several kinds."""

TAGGED = ("blend", "grading")
"""Keys behind which it puts the name of what they hold."""


def sentences(error: ValidationError, where: str = "") -> Iterator[str]:
    """One sentence per error, with the key's full path, its value and what is allowed."""
    for problem in error.errors():
        path = ".".join(filter(None, [where, *_keys(problem["loc"])]))
        key, reason = _reason(problem)
        yield ": ".join(filter(None, [path + key, reason]))


def _reason(problem: ErrorDetails) -> tuple[str, str]:
    """What follows the key in its path, if anything does, and what is wrong with its value."""
    kind, value = problem["type"], problem["input"]
    if kind == "value_error":
        # Errors of conditions bring the paths of their own keys.
        return "", str(problem["ctx"]["error"])
    if kind == "extra_forbidden":
        return "", f"unknown key (its value is {value!r})"
    if kind == "missing":
        return "", "missing"
    is_blend = problem["loc"][-1:] == ("blend",)
    if kind == "union_tag_invalid" and is_blend:
        expected = problem["ctx"]["expected_tags"]
        return ".source", f"there is no {problem['ctx']['tag']!r}; use one of {expected}"
    if kind == "union_tag_not_found" and is_blend:
        shape = "{'source': 'layer', 'layer': 27, 'beta': 0.05}"
        return "", f"give a mapping, as {shape} (it is {value!r})"
    if kind == "union_tag_not_found":
        key = problem["ctx"]["discriminator"].strip("'")
        return "", f"give a mapping that names its {key} (it is {value!r})"
    return "", f"{problem['msg']} (it is {value!r})"


def _keys(place: Sequence[int | str]) -> list[str]:
    """The keys that lead to a place, without what pydantic adds to them."""
    pairs = zip(("", *place), map(str, place), strict=False)
    return [key for before, key in pairs if before not in TAGGED and not KIND.fullmatch(key)]
