"""What the rooms of the package promise, beside the layers that `make check` holds."""

import re
import subprocess
import sys

import pytest

from small_study import ROOT, environment

PACKAGE = ROOT / "workflow" / "powerblend"
SLOW = ("torch", "transformers", "matplotlib", "pandas", "sympy", "scipy", "datasets")
UNTYPED = re.compile(r"\b(?:Mapping|dict)\[str, Any\]")
JSON_EDGE = 30
"""Places where JSON or YAML is read or written, and a mapping may hold anything."""


@pytest.mark.parametrize(
    "rooms",
    [
        "powerblend.study.schema, powerblend.study.layout, powerblend.figures",
        "powerblend.samplers, powerblend.blends, powerblend.datasets, powerblend.graders",
        "powerblend",
    ],
)
def test_planning_a_study_waits_for_nothing_that_computes(rooms: str) -> None:
    program = f"import sys, {rooms}; print(*sorted(sys.modules.keys() & set({SLOW})))"
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == []


def test_mappings_of_anything_are_left_at_the_edges_alone() -> None:
    places = {
        path.relative_to(PACKAGE).as_posix(): len(UNTYPED.findall(path.read_text()))
        for path in PACKAGE.rglob("*.py")
    }
    found = {place: count for place, count in places.items() if count}
    assert sum(found.values()) <= JSON_EDGE, found
