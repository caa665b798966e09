"""What the benchmarks share: the model and the prompts, processes side by side, and tables."""

import argparse
import json
import os
import statistics
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime
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
    # Before the processes import torch, as the jobs of a study have it.
    os.environ |= {"OMP_NUM_THREADS": str(threads), "THP_MEM_ALLOC_ENABLE": "1"}
    with ProcessPoolExecutor(len(arguments), mp_context=get_context("spawn")) as pool:
        return [f.result() for f in [pool.submit(function, *a) for a in arguments]]


def median(values: Sequence[float]) -> float:
    """The middle one."""
    return statistics.median(values)


def write_table(name: str, title: str, rows: Sequence[dict[str, Any]], notes: str) -> None:
    """Add a run to the history of a table, draw the table anew, and print the run.

    The history is a line of JSON for every run, with its date, commit, machine and versions.
    """
    packages = ", ".join(f"{p} {version(p)}" for p in ("torch", "transformers", "numpy"))
    run = {
        "date": datetime.now(UTC).date().isoformat(),
        "revision": git_revision(),
        "machine": hardware(),
        "packages": packages,
        "title": title,
        "notes": notes,
        "rows": list(rows),
    }
    RESULTS.mkdir(exist_ok=True)
    with (RESULTS / f"{name}.jsonl").open("a", encoding="utf-8") as history:
        history.write(json.dumps(run, ensure_ascii=False) + "\n")
    (RESULTS / f"{name}.md").write_text(as_markdown(runs_of(name)), encoding="utf-8")
    print(f"# {title}\n\n{_run(run)}")


def runs_of(name: str) -> list[dict[str, Any]]:
    """The runs of a table, the newest first."""
    return read_jsonl(RESULTS / f"{name}.jsonl")[::-1]


def as_markdown(runs: Sequence[dict[str, Any]]) -> str:
    """A table and its history, the newest run first."""
    newest, *earlier = runs
    parts = [f"# {newest['title']}", _run(newest)]
    parts += ["## Earlier runs"] if earlier else []
    parts += [f"### {run['date']}, revision {run['revision']}\n\n{_run(run)}" for run in earlier]
    return "\n\n".join(parts) + "\n"


def _run(run: dict[str, Any]) -> str:
    header = list(run["rows"][0])
    lines = [header, [":--", *["--:"] * (len(header) - 1)]]
    lines += [[_text(row[key]) for key in header] for row in run["rows"]]
    table = "\n".join("| " + " | ".join(line) + " |" for line in lines)
    origin = "; ".join([run["machine"], run["packages"], f"revision {run['revision']}"])
    return f"{table}\n\n{run['notes']}\n\n{origin}; {run['date']}."


def _text(value: Any) -> str:
    return (
        f"{value:.3g}"
        if isinstance(value, float) and value < 100
        else (f"{value:.0f}" if isinstance(value, float) else str(value))
    )
