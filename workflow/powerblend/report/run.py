"""How a study was run: versions, hardware and revision, read when the report is written."""

import platform
import subprocess
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import psutil
import yaml

from powerblend.infrastructure.files import read_json
from powerblend.study.schema import Study, parse_study
from powerblend.vocabulary.checked import Checked

PACKAGES = ("torch", "transformers", "snakemake", "numpy", "scipy", "sympy", "pandas")

VECTORS = {"avx512f": "AVX-512", "avx2": "AVX2"}
"""By Linux's flag of a processor, the widest first."""


class Run(NamedTuple):
    """How a study was run.

    Attributes
    ----------
    config, config_yaml
        The study, and its merged configuration as text.
    command
        What reproduces it.
    versions
        Of Python and of packages, by name.
    revision, hardware
        Of the code, and of the machine on which the report is written.
    """

    config: Study
    config_yaml: str
    checked: Checked
    command: str
    versions: dict[str, str]
    hardware: str
    revision: str


def describe_run(config: Path, checked: Path, command: str) -> Run:
    """What the report says of its own making."""
    settings = read_json(config)
    return Run(
        config=parse_study(settings),
        config_yaml=yaml.safe_dump(settings, sort_keys=False, allow_unicode=True, width=88),
        checked=Checked.read(checked),
        command=command,
        versions={"python": platform.python_version()} | {p: version(p) for p in PACKAGES},
        hardware=hardware(),
        revision=git_revision(),
    )


def hardware() -> str:
    """The machine in one line."""
    gpus = _output(["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]).splitlines()
    memory = psutil.virtual_memory().total / 2**30
    parts = [f"{psutil.cpu_count()} × {cpu_name()}", f"{memory:.0f} GiB memory"]
    if gpus:
        parts.append(f"{len(gpus)} × {gpus[0]}")
    return ", ".join(parts)


def git_revision() -> str:
    """The commit of the code, marked where the code in the working tree differs from it.

    Reports and tables are not code: a run that writes them anew is still a run of its commit.
    """
    commit = _output(["git", "describe", "--always", "--abbrev=12"])
    code = [":(top)", ":(top,exclude)report", ":(top,exclude)benchmarks/results"]
    changed = _output(["git", "diff", "HEAD", "--name-only", "--", *code])
    return f"{commit}-dirty" if commit and changed else commit or "unknown"


def cpu_name(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """The processor, in its maker's words, and its widest vectors.

    Processors of one name differ in them, and so in speed by more than two.
    """
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    about = {key.strip(): value.strip() for key, _, value in (one.partition(":") for one in lines)}
    name = about.get("model name") or platform.processor() or platform.machine()
    flags = about.get("flags", "").split()
    widest = next((vectors for flag, vectors in VECTORS.items() if flag in flags), None)
    return f"{name} with {widest}" if widest else name


def _output(command: Sequence[str]) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""
