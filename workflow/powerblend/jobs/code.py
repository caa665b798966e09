"""Which code decides what a stage of the workflow makes.

One rule for all stages: a stage's own code is an input of its rule, so that mended code makes its
results anew, or the digest that names its results holds a revision, which is changed by hand when
the code comes to make something else. What takes hours has a revision.
"""

from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1]

CODE = {
    "problems": ("jobs/problems.py", "study/problems.py", "vocabulary/problem.py", "datasets"),
    "check": ("jobs/check.py", "study/prompts.py", "study/problems.py", "vocabulary/checked.py"),
    "grade": ("jobs/grade.py", "graders", "study/record_files.py", "vocabulary/records.py"),
    "tables": (
        *("jobs/tables.py", "analysis", "study/contrasts.py"),
        *("vocabulary/summary.py", "vocabulary/measurements.py"),
    ),
    "figure": (
        *("jobs/figure.py", "figures", "analysis/roles.py", "analysis/sweep.py"),
        *("analysis/interaction.py", "vocabulary/summary.py", "vocabulary/published.py"),
    ),
    "report": (
        *("jobs/report.py", "report", "analysis/roles.py", "analysis/sweep.py"),
        *("analysis/interaction.py", "vocabulary/summary.py", "vocabulary/published.py"),
    ),
}
"""Stages whose code is an input: files and rooms of the package."""

REVISED = {
    "generate": "powerblend.engine.REVISION",
    "draft": "powerblend.study.cells.TRAINER_REVISION",
    "probe": "powerblend.study.cells.PROBE_REVISION",
    "match": "powerblend.study.cells.PROBE_REVISION",
}
"""Stages whose specs hold a revision."""

NAMED_BY_CONTENT = {
    "config": "the digest of what a file holds is in its name",
    "embedded_model": "the checksum of the download is pinned",
    "shard": "its command is its code, which Snakemake compares",
}
"""Stages that need neither."""

ONE_OF_MANY = ("datasets", "graders", "figures")
"""Rooms where one file adds one: of those a stage's code is the one that it uses."""

SHARED = ("__init__", "base", "sandbox", "jail", "style")
"""Files of these rooms that the others use."""


def code_of(stage: str, chosen: str = "") -> list[Path]:
    """The files that decide what a stage makes, relative to the package.

    Parameters
    ----------
    stage
        A key of `CODE`.
    chosen
        The adapter, grader or figure that is used.
    """
    return sorted(path for part in CODE[stage] for path in _files(part, chosen))


def _files(part: str, chosen: str) -> Iterator[Path]:
    if part.endswith(".py"):
        yield Path(part)
        return
    for suffix in ("py", "j2"):
        for path in sorted((PACKAGE / part).rglob(f"*.{suffix}")):
            alone = part in ONE_OF_MANY and path.parent == PACKAGE / part
            if not alone or path.stem in (chosen, *SHARED):
                yield path.relative_to(PACKAGE)
