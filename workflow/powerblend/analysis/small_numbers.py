"""When there are so few problems or tokens that a reader is told what one of them weighs."""

SMALL_COUNT = 30
"""The smallest number that is not small."""


def is_small(count: int) -> bool:
    """Whether a count of problems, or of hard tokens, is small."""
    return count < SMALL_COUNT
