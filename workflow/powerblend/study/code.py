"""Which code decides what a stage of the workflow makes.

One rule for all stages: mended code makes its stage's results anew, and nothing else but what is
made of them. A stage's code is an input of its rule (`CODE`); where there is a job per cell, its
digest is in the path of what the stage makes (`IN_PATH`); what takes hours has a revision in its
spec, which is changed by hand when the code comes to make something else (`REVISED`).
"""

import hashlib
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import get_args

from powerblend.datasets import ADAPTERS
from powerblend.graders import AnyGrader

PACKAGE = Path(__file__).resolve().parents[1]

SUMMARY = (
    *("analysis/__init__.py", "analysis/roles.py", "analysis/sweep.py"),
    *("analysis/interaction.py", "analysis/probe.py"),
)
"""What figures and report ask about a summary."""

READ_SUMMARY = (
    *("analysis/small_numbers.py", "vocabulary/summary.py", "vocabulary/measurements.py"),
    "vocabulary/published.py",
)

CODE = {
    "problems": ("jobs/problems.py", "study/problems.py", "vocabulary/problem.py", "datasets"),
    "check": (
        *("jobs/check.py", "study/prompts.py", "study/problems.py", "vocabulary/checked.py"),
        "vocabulary/problem.py",
    ),
    "grade": (
        *("jobs/grade.py", "graders", "study/record_files.py", "study/problems.py"),
        *("vocabulary/records.py", "vocabulary/problem.py"),
    ),
    "tables": (
        *("jobs/tables.py", "analysis", "study/contrasts.py", "study/record_files.py"),
        # How answers are compared where they vote.
        "graders",
        *("vocabulary/summary.py", "vocabulary/measurements.py", "vocabulary/records.py"),
        "vocabulary/published.py",
    ),
    "figures": ("jobs/figures.py", "figures", *SUMMARY, *READ_SUMMARY),
    "report": ("jobs/report.py", "report", "vocabulary/checked.py", *SUMMARY, *READ_SUMMARY),
    "answers": (
        *("jobs/answers.py", "report/answers.py", "report/html.py", "study/record_files.py"),
        *("study/problems.py", "vocabulary/records.py", "vocabulary/problem.py"),
        *(f"report/templates/answers.{part}" for part in ("html.j2", "css", "js")),
    ),
}
"""Stages whose code is compared: files and rooms of the package."""

IN_PATH = ("grade",)
"""Those with a job per cell: to compare fifty files for each of a thousand takes half a minute."""

REVISED = {
    "generate": "powerblend.engine.REVISION",
    "draft": "powerblend.study.cells.TRAINER_REVISION",
    "probe": "powerblend.study.cells.PROBE_REVISION",
    "match": "powerblend.study.cells.PROBE_REVISION",
}
"""Stages whose specs hold a revision."""

NAMED_BY_CONTENT = {
    "config": "the digest of what a file holds is in its name",
    "specs": "the digest of what a file holds is in its name",
    "embedded_model": "the checksum of the download is pinned",
    "shard": "its command is its code, which Snakemake compares",
}
"""Stages that need neither."""


def code_of(stage: str, chosen: str = "") -> list[Path]:
    """The files that decide what a stage makes, relative to the package.

    Parameters
    ----------
    stage
        A key of `CODE`.
    chosen
        The adapter or grader that is used; the others' files decide nothing.
    """
    return sorted(path for part in CODE[stage] for path in _files(part, chosen))


def code_digest(stage: str, chosen: str = "") -> str:
    """SHA-256 of the names and contents of `code_of`."""
    files = code_of(stage, chosen)
    found = hashlib.sha256()
    for path in files:
        found.update(f"{path}\n".encode() + (PACKAGE / path).read_bytes())
    return found.hexdigest()


def _files(part: str, chosen: str) -> Iterator[Path]:
    if Path(part).suffix:
        yield Path(part)
        return
    others = set(_one_of_many(part)) - {chosen}
    for path in sorted((PACKAGE / part).rglob("*")):
        is_other = path.parent == PACKAGE / part and path.stem in others
        if path.suffix in (".py", ".j2") and not is_other:
            yield path.relative_to(PACKAGE)


def _one_of_many(room: str) -> Collection[str]:
    """The files of a room of which a job uses one: adapters, graders."""
    if room == "datasets":
        return ADAPTERS
    if room == "graders":
        (union, _) = get_args(AnyGrader)
        return [kind.model_fields["grader"].default for kind in get_args(union)]
    return ()
