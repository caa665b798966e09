"""Whether a problem asks for values of which no one comes before another.

Knows the words that problems use, and nothing about answers.
"""

import re

_ALL = re.compile(
    r"(?:find|list|determine|enter|give|compute|what are|solve for)\s+(?:the\s+)?"
    r"(?:all|every|both)\b"
    r"|\ball\s+(?:\w+\s+){0,4}?(?:values?|solutions?|roots?|zeroe?s|numbers?|integers?|pairs?|triples?"
    r"|primes?|factors|divisors|points?|possible|real|complex|positive|ordered)\b"
    r"|\bfind\s+the\s+(?:\w+\s+){0,2}(?:roots|solutions|zeroe?s)\b|\bwhat\s+are\s+the\b"
    r"|separated?\s+by\s+(?:a\s+)?commas?|in\s+any\s+order",
    re.IGNORECASE,
)
_ORDERED = re.compile(
    r"\b(?:in|from)\s+(?:\w+\s+){0,2}(?:increasing|decreasing|ascending|descending|numerical"
    r"|alphabetical|least|smallest|greatest|largest|lowest|highest|order\s+from|this\s+order"
    r"|that\s+order|order)\b|respectively|ordered\s+from",
    re.IGNORECASE,
)


def order_does_not_matter(problem: str) -> bool:
    """Whether the problem asks for all values of something, and names no order."""
    named = _ORDERED.search(re.sub(r"in\s+any\s+order", "", problem, flags=re.IGNORECASE))
    return bool(_ALL.search(problem)) and not named
