"""What an adapter takes and gives."""

from collections.abc import Mapping
from typing import Any

Row = Mapping[str, Any]
"""A row of a benchmark, by column, as its publisher has it; or the fields of a problem."""
