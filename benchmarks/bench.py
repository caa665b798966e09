"""What the benchmarks share: the model and the prompts, processes side by side, and tables."""

import argparse
import json
import os
import statistics
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import yaml

from powerblend.infrastructure.files import read_jsonl
from powerblend.report.run import git_revision, hardware
from powerblend.study.prompts import Messages, chat
from powerblend.vocabulary.specs import Prompt

ROOT = Path(__file__).parents[1]
_MODEL = ROOT / "results" / "models" / "smollm2-135m-instruct"
RESULTS = Path(__file__).parent / "results"


def parser(description: str | None, repeats: int = 3) -> argparse.ArgumentParser:
    """The options of every benchmark."""
    options = argparse.ArgumentParser(description=description)
    options.add_argument("--repeats", type=int, default=repeats, help=f"(default {repeats})")
    return options


def rows_option(options: argparse.ArgumentParser, *default: int) -> None:
    """The numbers of rows to measure."""
    shown = " ".join(map(str, default))
    options.add_argument("--rows", type=int, nargs="+", default=default, help=f"(default {shown})")


def demo_model() -> Path:
    """The directory of the demo's model."""
    if not _MODEL.is_dir():
        raise SystemExit(f"there is no model in {_MODEL}: run make demo first")
    return _MODEL


def prompts(count: int) -> list[Messages]:
    """The demo's prompts: every problem asked after the worked examples."""
    shots = yaml.safe_load((ROOT / "resources/prompts/four_shot.yaml").read_text())
    prompt = Prompt(template="{problem}", shots=shots)
    problems = read_jsonl(ROOT / "resources/problems/basic.jsonl")
    return [chat(row["problem"], prompt) for row in problems[:count]]


def side_by_side(
    function: Callable[..., Any], threads: int, arguments: Sequence[Sequence[Any]]
) -> list[Any]:
    """Call the function in one process for each list of arguments, all at once."""
    os.environ["OMP_NUM_THREADS"] = str(threads)  # before the processes import torch
    with ProcessPoolExecutor(len(arguments), mp_context=get_context("spawn")) as pool:
        return [f.result() for f in [pool.submit(function, *a) for a in arguments]]


def median(values: Sequence[float]) -> float:
    """The middle one."""
    return statistics.median(values)


def write_table(name: str, title: str, rows: Sequence[dict[str, Any]], notes: str) -> None:
    """Write a table as Markdown and JSON, with where it was measured, and print it."""
    packages = ", ".join(f"{p} {version(p)}" for p in ("torch", "transformers", "numpy"))
    origin = f"{hardware()}; {packages}; revision {git_revision()}"
    header = list(rows[0])
    lines = [header, [":--", *["--:"] * (len(header) - 1)]]
    lines += [[_text(row[key]) for key in header] for row in rows]
    table = "\n".join("| " + " | ".join(line) + " |" for line in lines)
    text = f"# {title}\n\n{table}\n\n{notes}\n\n{origin}.\n"
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.md").write_text(text)
    record = {"title": title, "rows": list(rows), "notes": notes, "origin": origin}
    (RESULTS / f"{name}.json").write_text(json.dumps(record, indent=2) + "\n")
    print(text)


def _text(value: Any) -> str:
    return (
        f"{value:.3g}"
        if isinstance(value, float) and value < 100
        else (f"{value:.0f}" if isinstance(value, float) else str(value))
    )
