"""Equality of the same chains run in another batch, order or recording, or after an interruption.

Tokens, text, counts, decisions and how an answer ended are equal. Log-probabilities are sums over
matrix products, and some processors round a row's product differently in a batch of another shape:
in float64 these sums are equal to `LOG_TOLERANCE`. Seconds are wall time and never equal; passes
go by what could be guessed, which is a matter of what ran beside.
"""

from collections.abc import Iterable
from typing import Any

import pytest

from powerblend import Generation
from powerblend.api.generation import TOKEN_DIGITS

LOG_FIELDS = {"log_p", "log_t", "log_t_by_block", "log_normaliser", "weight"}
LOG_TOLERANCE = 1e-9
"""Nats, absolute, of sums of at most some hundred nats."""

ROUNDED_FIELDS = {"token_log_p", "token_entropy", "token_certainty", "log_p_by_move"}
ROUNDED = 1.01 * 10**-TOKEN_DIGITS
"""What the last digit of a last place may make of a rounded number."""


def records(answers: Iterable[Iterable[Generation]]) -> list[dict[str, Any]]:
    """Every answer's fields, sample by sample of prompt by prompt, without seconds and passes."""
    return [untimed(g.as_record()) for row in answers for g in row]


def untimed(record: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in record.items() if key not in ("seconds", "passes")}


def nearly(expected: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Records to compare others with: equal in everything, in log-probabilities to the tolerance.

    Use as ``assert records(these) == nearly(records(those))``.
    """
    return [_nearly(record) for record in expected]


def _nearly(record: dict[str, Any]) -> dict[str, Any]:
    """Also of an answer of several strings, whose others are records themselves."""
    close = {k: pytest.approx(record[k], abs=LOG_TOLERANCE) for k in LOG_FIELDS & record.keys()}
    close |= {k: pytest.approx(record[k], abs=ROUNDED) for k in ROUNDED_FIELDS & record.keys()}
    others = {"replicas": [_nearly(r) for r in record["replicas"]]} if "replicas" in record else {}
    return record | close | others
