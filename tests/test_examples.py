"""What lies in `examples/` runs, as it lies there."""

import contextlib
import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import tiny
from small_study import ROOT, environment

EXAMPLES = ROOT / "examples"


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random model that reads chats, as a directory."""
    return tiny.save(tmp_path_factory.mktemp("model"))


def test_every_example_is_run_here() -> None:
    files = {path.name for path in EXAMPLES.iterdir() if path.is_file()}
    assert files == {"sample.py", "power_sampling.ipynb"}


def test_the_script_answers_in_four_ways(small: Path) -> None:
    done = subprocess.run(
        [sys.executable, "examples/sample.py", str(small), "What is 2 + 2?"],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    heads = done.stdout.splitlines()[::2]
    ways = ["greedy", "low temperature", "power sampling", "power sampling, blended"]
    assert [head.partition(":")[0] for head in heads] == ways


def cells() -> list[dict[str, Any]]:
    notebook = json.loads((EXAMPLES / "power_sampling.ipynb").read_text(encoding="utf-8"))
    assert (notebook["nbformat"], notebook["nbformat_minor"]) == (4, 5)
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def run(cells: list[dict[str, Any]]) -> list[str]:
    """What the cells print, one after the other in one namespace."""
    namespace: dict[str, Any] = {}
    printed = []
    for cell in cells:
        said = io.StringIO()
        with contextlib.redirect_stdout(said):
            exec("".join(cell["source"]), namespace)
        printed.append(said.getvalue())
    return printed


def shown(cell: dict[str, Any]) -> str:
    return "".join(text for output in cell["outputs"] for text in output["text"])


def test_the_notebook_runs(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POWERBLEND_MODEL", str(small))
    printed = run(cells())
    assert [bool(text) for text in printed] == [bool(shown(cell)) for cell in cells()]
    assert printed[-1] == shown(cells()[-1])  # grades do not depend on the model


def test_the_notebook_shows_what_it_prints(embedded: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POWERBLEND_MODEL", str(embedded))
    assert run(cells()) == [shown(cell) for cell in cells()]
