"""Datasets: how a row of a benchmark becomes a problem, one file each.

An adapter is a function from a row, as its publisher has it, to the fields of a problem:
``problem`` (what is asked), ``answer`` (the reference, as the study's grader wants it) and perhaps
``unique_id``, ``subject``, ``level`` and ``solution``. To add one, write its file and its line in
`ADAPTERS`. Knows no files, no hub and no graders.
"""

from collections.abc import Callable

from powerblend.datasets import aime, gsm8k, humaneval, math
from powerblend.datasets.base import Row

ADAPTERS: dict[str, Callable[[Row], Row]] = {
    "math": math.fields,
    "gsm8k": gsm8k.fields,
    "aime": aime.fields,
    "humaneval": humaneval.fields,
}
