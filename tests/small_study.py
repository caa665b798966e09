"""A study small enough to run in seconds: a random model with a tokenizer, and a few problems."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

import tiny
from powerblend.study.schema import Study, parse_study

ROOT = Path(__file__).parents[1]


def problems(count: int = 6) -> list[dict[str, Any]]:
    """Sums, in the fields of MATH-500."""
    return [
        {
            "problem": f"What is {n} + {n + 1}?",
            "solution": "",
            "answer": str(2 * n + 1),
            "subject": "Prealgebra",
            "level": 1 + n % 5,
            "unique_id": f"sums/{n}",
        }
        for n in range(count)
    ]


def write_study(folder: Path, **changes: Any) -> Path:
    """Write problems, model and configuration into a folder; the configuration's path."""
    data = folder / "problems.jsonl"
    if not data.exists():
        data.write_text("".join(json.dumps(p) + "\n" for p in problems()))
        tiny.save(folder / "model")
    study: dict[str, Any] = {
        "study": "small",
        "model": {"name": str(folder / "model"), "revision": None, "dtype": "float64"},
        "dataset": {"name": str(data), "revision": None},
        "prompt": {"template": "{problem}"},
        "shards": {"of": 2, "use": [0, 1]},
        "use": ["greedy", "temp", "ps", "blend_greedy", "blend_ps"],
        "decoding": {"max_new_tokens": 8, "blocks": 2, "steps": 2},
        "blends": {"layer": {"layer": 1}},
        # Its own tests switch it on.
        "probe": {"enabled": False, "layers": [], "over": "greedy"},
        "resources": {"rows": 4, "gpu": 0, "threads": 1, "mem_mb": 500},
    }
    path = folder / "study.yaml"
    path.write_text(yaml.safe_dump(merged(study, changes)))
    return path


def merged(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Merge as ``--configfile`` does: mappings deeply, anything else replaced."""
    both = {
        key: merged(base[key], value)
        for key, value in changes.items()
        if isinstance(value, dict) and isinstance(base.get(key), dict)
    }
    return base | changes | both


def parsed(path: Path) -> Study:
    """The study that runs under a configuration file."""
    base, changes = (yaml.safe_load(file.read_text()) for file in (ROOT / "config.yaml", path))
    return parse_study(merged(base, changes))


def run(
    *command: str, cwd: Path, check: bool = True, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a program in a folder; its output is in ``stdout``."""
    result = subprocess.run(
        command,
        cwd=cwd,
        env=env or environment(),
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    assert not check or result.returncode == 0, result.stdout
    return result


def environment() -> dict[str, str]:
    """The environment of a program that a test starts."""
    return os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}


def snakemake(study: Path, *options: str, check: bool = True) -> str:
    """Run the workflow on a study, in the study's folder; what it printed."""
    return run(
        *(sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile")),
        *("--cores", "2", "--configfile", str(study), *options),
        cwd=study.parent,
        check=check,
    ).stdout


def planned(study: Path) -> dict[str, list[str]]:
    """The jobs that a dry run would start: names of cells and shards by rule."""
    text = snakemake(study, "--dry-run", "--quiet", "host")
    jobs: dict[str, list[str]] = {}
    rule = ""
    for line in text.splitlines():
        if line.startswith(("rule ", "localrule ")):
            rule = line.split()[1].rstrip(":")
            jobs[rule] = jobs.get(rule, [])
        elif line.strip().startswith("output:") and rule:
            jobs[rule].append(line.split("output:")[1].strip())
    return jobs
