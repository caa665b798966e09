"""What the rules share: the validated study, its cells and its paths. Makes no file."""

import json
import os
import shlex
import sys
from pathlib import Path

import pandas as pd

from snakemake.exceptions import WorkflowError

from powerblend.figures import FIGURES
from powerblend.study.cells import canonical, cells_of
from powerblend.study.config import ConfigError, parse_study
from powerblend.study.layout import Layout, models

# `python` is the one that runs the workflow, unless a job has a conda environment of its own.
shell.prefix(
    f"export PATH={Path(sys.executable).parent}:$PATH PYTHONPATH={workflow.basedir}/workflow; "
)
PACKAGE = Path(workflow.basedir) / "workflow" / "powerblend"

try:
    STUDY = parse_study(config)
    CELLS = cells_of(STUDY)
    LAYOUT = Layout(STUDY)
except ConfigError as error:
    raise WorkflowError(f"the configuration cannot be run:\n{error}")

SPECS = {cell.name: cell.spec for cell in CELLS.values()}
LOGS = LAYOUT.results / "logs"
TIMES = LAYOUT.results / "times"
MODEL_FILES = [LAYOUT.model / "model.safetensors"] if LAYOUT.model else []
FETCHED_MODEL = f"--model {LAYOUT.model}" if LAYOUT.model else ""
ENVIRONMENTS = Path(workflow.basedir) / "envs"
FIGURE_FILES = [
    LAYOUT.figures / f"{name}.{kind}" for name in FIGURES for kind in ("png", "svg")
]

STUDIES = [os.path.relpath(path) for path in workflow.overwrite_configfiles]
COMMAND = shlex.join(
    ["snakemake", "--cores", "all", *(["--configfile", *STUDIES] if STUDIES else [])]
)


wildcard_constraints:
    cell=r"[a-z_]+(-b[-\d.e]+)?(-l\d+)?-[0-9a-f]{10}",
    shard=r"shard-\d+-of-\d+",
    part=r"\d+",
    parts=r"\d+",
    samples=r"\d+",
    figure="|".join(FIGURES),
    embedded=r"[\w.-]+",


def spec(wildcards):
    """The spec of a cell. A cluster's job reads the configuration again, as it then is."""
    if wildcards.cell not in SPECS:
        raise WorkflowError(
            f"no condition makes {wildcards.cell}: the configuration was edited while the study "
            "ran; start it again (what is finished is kept)"
        )
    return SPECS[wildcards.cell]


def longest_first(wildcards):
    """Priority of a generate job: power sampling takes longest, so it starts first."""
    sampler = json.loads(spec(wildcards))["decoding"]["sampler"]
    return 10 if sampler == "power" else 0


def closing():
    """What a user sees when the study is done: where the report is, and its main table."""
    if not (LAYOUT.tables / "overall.csv").exists():
        return "\nDone, as far as was asked for; there are no tables yet.\n"
    columns = "condition correct total accuracy low high decoded_tokens".split()
    overall = pd.read_csv(LAYOUT.tables / "overall.csv")[columns]
    return f"\n{overall.round(3).to_string(index=False)}\n\nThe report is {LAYOUT.report}\n"
