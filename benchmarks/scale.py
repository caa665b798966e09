"""How each stage after generation grows, from a thousand records to a hundred thousand.

A study of 25 conditions whose records are made up: answers repeat as they do in practice, a few
right spellings and a few wrong values for each problem. Then the workflow's own jobs grade them
with both graders, table them, draw the figures and write the report and the page of answers.
"""

import argparse
import contextlib
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import psutil
import yaml
from bench import ROOT, parser, write_table

from powerblend.figures import FIGURES
from powerblend.graders.boxed import extract_boxed
from powerblend.infrastructure.files import read_jsonl, write_json, write_jsonl
from powerblend.study.cells import Cell
from powerblend.study.layout import Layout
from powerblend.study.schema import Study, parse_study
from powerblend.vocabulary.records import AnswerCounts

SIZES = {1_000: (20, 2), 10_000: (100, 4), 100_000: (500, 8)}
"""Problems and samples by the number of records; there are 25 conditions."""

LOOK_EVERY = 0.25
"""Seconds between two looks at the memory of a stage's processes."""

ANSWER_TOKENS = 250
BLOCKS = 16
WORK = "So the two quantities are equal, and what is asked for follows from the line before. "
CHECKED = {
    **{"model": "Qwen/Qwen3-4B", "architecture": ["Qwen3ForCausalLM"], "layers": 36},
    **{"hidden_size": 2560, "vocabulary": 151936, "problems": 500},
    "prompt_tokens": {"shortest": 60, "longest": 400},
}


class Cost(NamedTuple):
    """Wall and processor seconds of a stage, and the most memory that its processes had at once."""

    wall: float
    processor: float
    mib: float


def main() -> None:
    """Measure and write the table."""
    options = parser(__doc__)
    options.add_argument("--records", type=int, nargs="+", choices=SIZES, default=list(SIZES))
    options.add_argument("--at-once", type=int, default=2, help="jobs (default 2)")
    options.add_argument(
        "--graded", type=int, default=25, help="conditions to grade, of 25 (default all)"
    )
    chosen = options.parse_args()
    rows = [row for records in chosen.records for row in measure(records, chosen)]
    write_table(
        "scale",
        "From records to the report",
        rows,
        "`per record` is processor time in milliseconds; where it does not rise from one size to "
        "the next, the stage grows no faster than its work. `MiB` is the most that all processes "
        f"of a stage had at once; {chosen.at_once} grade jobs run at a time. Of the 25 conditions, "
        f"all alike, {chosen.graded} are graded, and grading counts for 25. Planning is `snakemake "
        "--dry-run` of the whole study; its work is the number of jobs, the same at every size.",
    )


def measure(records: int, chosen: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """A row for each stage."""
    problems, samples = SIZES[records]
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        study = prepare(root, problems, samples)
        costs = dict(stages(root, study, chosen))
    total = Cost(
        *(sum(c[i] for c in costs.values()) for i in (0, 1)), max(c.mib for c in costs.values())
    )
    for stage, cost in {**costs, "all": total}.items():
        yield {
            "stage": stage,
            "records": records,
            "seconds": cost.wall,
            "CPU seconds": cost.processor,
            "per record": 1000 * cost.processor / records,
            "MiB": cost.mib,
        }
        print(f"{records}, {stage}: {cost}", file=sys.stderr, flush=True)


def stages(root: Path, study: Study, chosen: argparse.Namespace) -> Iterator[tuple[str, Cost]]:
    """Run every stage."""
    layout = Layout(study)
    config, published = str(layout.config), str(ROOT / "resources" / "published.yaml")
    summary, figures = str(layout.tables / "summary.json"), str(layout.figures)
    plan = ["snakemake", "--snakefile", str(ROOT / "Snakefile"), "--dry-run", "--quiet", "all"]
    yield "plan", run(root, [[*plan, "--configfile", "study.yaml"]])
    grading = [
        [
            *("powerblend", "grade", "--spec", str(layout.grading_spec)),
            *("--problems", str(layout.problems), "--records", str(answers)),
            *("--output", str(grades)),
        ]
        for cell in layout.cells.values()
        for answers, grades in zip(layout.generated(cell), layout.graded(cell), strict=True)
    ]
    of_some = run(root, grading[: chosen.graded], chosen.at_once)
    share = len(grading[: chosen.graded]) / len(grading)
    yield "grade", Cost(of_some.wall / share, of_some.processor / share, of_some.mib)
    for cell in layout.cells.values():
        _grade_the_rest(root, study, cell)
    tables = ["powerblend", "tables", "--config", config, "--summary", summary]
    yield "tables", run(root, [[*tables, "--output", str(layout.tables / "overall.csv")]])
    draw = ["powerblend", "figures", "--summary", summary, "--published", published]
    yield "figures", run(root, [[*draw, "--output", figures]])
    write = ["powerblend", "report", "--config", config, "--checked", str(layout.checked)]
    write += ["--summary", summary, "--published", published, "--output", str(layout.report)]
    write += ["--html", str(layout.report.with_suffix(".html")), "--figures"]
    yield "report", run(root, [[*write, *(f"{figures}/{name}.png" for name in FIGURES)]])
    look = ["powerblend", "answers", "--config", config, "--output", str(layout.answers)]
    yield "answers", run(root, [look])


def run(root: Path, commands: Sequence[Sequence[str]], at_once: int = 1) -> Cost:
    """Run modules in processes of their own, a few at a time."""
    start, seen, ended = time.perf_counter(), Seen({}, [0.0]), threading.Event()
    watcher = threading.Thread(target=_watch, args=(seen, ended))
    watcher.start()
    try:
        with ThreadPoolExecutor(at_once) as pool:
            list(pool.map(lambda command: _run(root, command), commands))
    finally:
        ended.set()
        watcher.join()
    wall = time.perf_counter() - start
    return Cost(wall, sum(seen.processor.values()), max(seen.mib))


class Seen(NamedTuple):
    """What was seen of a stage's processes, the graders' workers among them."""

    processor: dict[tuple[int, float], float]
    """Seconds by process, of which the last look is worth most."""

    mib: list[float]


def _watch(seen: Seen, ended: threading.Event) -> None:
    """Look at all processes that were started here, again and again; shared pages count once."""
    while not ended.wait(LOOK_EVERY):
        together = 0
        for process in psutil.Process().children(recursive=True):
            with contextlib.suppress(psutil.Error):  # it has just ended
                times = process.cpu_times()
                seen.processor[process.pid, process.create_time()] = times.user + times.system
                together += process.memory_full_info().pss
        seen.mib.append(together / 2**20)


def _run(root: Path, command: Sequence[str]) -> None:
    environment = os.environ | {"PYTHONPATH": str(ROOT / "workflow"), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-m", *command], cwd=root, env=environment, capture_output=True, text=True
    )
    if done.returncode:
        raise SystemExit(f"failed: {' '.join(command)}\n{done.stderr}")


def prepare(root: Path, problems: int, samples: int) -> Study:
    """Write a study's configuration, problems, and what its generate jobs would have written."""
    asked = [_problem(index) for index in range(problems)]
    write_jsonl(root / "data.jsonl", asked)
    (root / "study.yaml").write_text(yaml.safe_dump(_changes(samples)))
    merged = yaml.safe_load((ROOT / "config.yaml").read_text()) | _changes(samples)
    (root / "merged.json").write_text(json.dumps(merged))
    study = parse_study(merged)
    layout = Layout(study)
    dataset = layout.dataset_spec(layout.problems_dir.name)
    powerblend = [sys.executable, "-m", "powerblend"]
    for command in (
        [*powerblend, "config", "--merged", json.dumps(merged), "--output", str(layout.config)],
        [*powerblend, "problems", "--spec", str(dataset), "--output", str(layout.problems)],
    ):
        subprocess.run(command, cwd=root, check=True, stderr=subprocess.DEVNULL)
    write_json(root / layout.checked, CHECKED)
    for name, cell in layout.cells.items():
        (path,) = layout.generated(cell)
        random = Random(name)
        answers = [_answer(p, s, name, random) for p in asked for s in range(samples)]
        write_jsonl(root / path, answers)
    return study


def _grade_the_rest(root: Path, study: Study, cell: Cell) -> None:
    """Grades of a condition that no job has graded: what is right is known."""
    layout = Layout(study)
    (answers,), (grades,) = layout.generated(cell), layout.graded(cell)
    if (root / grades).exists():
        return
    asked = {problem["unique_id"]: problem for problem in read_jsonl(root / layout.problems)}
    write_jsonl(
        root / grades, (_grade(r, asked[r["problem_id"]]) for r in read_jsonl(root / answers))
    )


def _grade(record: dict[str, Any], problem: dict[str, Any]) -> dict[str, Any]:
    answer = extract_boxed(record["completion"])
    right = answer in _spellings(problem)[0]
    counts = {name: value for name, value in record.items() if name in AnswerCounts.model_fields}
    return counts | {
        **{"subject": problem["subject"], "level": problem["level"], "gold": problem["answer"]},
        **{"answer": answer, "correct": right, "second": right, "reason": None, "rule": None},
        "string": hashlib.sha256(str(record["tokens"]).encode()).hexdigest()[:16],
    }


def _changes(samples: int) -> dict[str, Any]:
    layer = {"source": "layer", "layer": 33, "norm": "none"}
    named = ["greedy", "temp", "ps", "blend_greedy", "blend_ps"]
    swept = {
        f"blend_ps_{i}": {"sampler": "power", "blend": layer | {"beta": round(0.01 * i - 0.1, 2)}}
        for i in range(21)
        if i not in (10, 15)
    }
    greedy = {"more_greedy": {"sampler": "greedy", "blend": layer | {"beta": 0.02}}}
    written = yaml.safe_load((ROOT / "config.yaml").read_text())["conditions"]
    return {
        "study": "scale",
        "samples": samples,
        "dataset": {"name": "data.jsonl", "revision": None},
        "shards": {"of": 1, "use": [0]},
        "conditions": written | swept | greedy,
        "use": [*named, *swept, *greedy],
        "probe": {"enabled": False},
    }


def _problem(index: int) -> dict[str, Any]:
    a, b = 2 + index % 13, 3 + index % 29
    right = (
        *(rf"\frac{{{a}}}{{{a * b + 1}}}", f"{a * b}", rf"{a}\sqrt{{{b * b + 1}}}"),
        *(f"({a}, {b})", f"[{a}, {a + b})", rf"{a}x^2 + {b}x - 1", rf"{10 * a}^\circ", f"{a}.{b}"),
    )
    return {
        "problem": f"Problem {index}: what follows from {a} and {b}?",
        "solution": f"It is $\\boxed{{{right[index % len(right)]}}}$.",
        "answer": right[index % len(right)],
        "subject": f"Subject {index % 7}",
        "level": 1 + index % 5,
        "unique_id": f"problem/{index}",
    }


def _spellings(problem: dict[str, Any]) -> tuple[list[str], list[str]]:
    """Of the right answer, and of values that models give instead."""
    right = problem["answer"]
    again = right.replace(r"\frac", r"\dfrac").replace(", ", ",")
    other = right.replace("2", "3").replace("1", "4")
    return [right, again, f"x = {right}"], [other + "1", f"{len(right)}", r"\text{none}", "12"]


def _answer(problem: dict[str, Any], sample: int, name: str, random: Random) -> dict[str, Any]:
    right, wrong = _spellings(problem)
    spelling = random.choice(right if random.random() < 0.2 * problem["level"] else wrong)
    blocks = 0 if "ps" not in name else BLOCKS
    log_t = [-4.0 * random.random() - 1.0 for _ in range(blocks)]
    last, moves = (log_t[-1] if log_t else -3.0), 2 * blocks
    return {
        **{"study": "scale", "condition": name, "problem_id": problem["unique_id"]},
        **{"sample": sample, "seed": 42},
        "completion": f"{WORK * 12}The answer is $\\boxed{{{spelling}}}$.",
        "tokens": [random.randrange(150_000) for _ in range(ANSWER_TOKENS)],
        **{"n_tokens": ANSWER_TOKENS, "finish": "eos", "prompt_tokens": 100},
        **{"decoded_tokens": 4 * ANSWER_TOKENS, "moves": moves, "accepted": moves // 2},
        **{"unchanged": moves // 8, "early_rejected": moves // 4, "log_p": last / 4, "log_t": last},
        **{"accepted_by_block": [1] * blocks, "log_t_by_block": log_t, "seconds": 2.5},
        "key": f"{name}/{problem['unique_id']}/{sample}",
    }


if __name__ == "__main__":
    main()
