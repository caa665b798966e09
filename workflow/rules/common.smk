"""What the rules share: the validated study, its cells and its paths. Makes no file."""

import json
import os
import sys

import pandas as pd

from snakemake.exceptions import WorkflowError

from powerblend.figures import FIGURES
from powerblend.study.cells import canonical, cells_of
from powerblend.study.config import ConfigError, parse_study
from powerblend.study.layout import Layout, models

# Inside the workflow's own environment, whatever `python` means to the shell.
POWERBLEND = f"{sys.executable} -m powerblend"

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
FIGURE_FILES = [
    LAYOUT.figures / f"{name}.{kind}" for name in FIGURES for kind in ("png", "svg")
]

COMMAND = " ".join(
    ["snakemake", f"--cores {workflow.cores or 1}"]
    + [f"--configfile {os.path.relpath(path)}" for path in workflow.overwrite_configfiles]
)


wildcard_constraints:
    cell=r"[a-z_]+(-b[-\d.e]+)?(-l\d+)?-[0-9a-f]{10}",
    shard=r"shard-\d+-of-\d+",
    samples=r"\d+",
    figure="|".join(FIGURES),
    embedded=r"[\w.-]+",


def longest_first(wildcards):
    """Priority of a generate job: power sampling takes longest, so it starts first."""
    return 10 if json.loads(SPECS[wildcards.cell])["decoding"]["sampler"] == "power" else 0


def closing():
    """What a user sees when the study is done: where the report is, and its main table."""
    columns = ["condition", "correct", "total", "accuracy", "low", "high", "decoded_tokens"]
    overall = pd.read_csv(LAYOUT.tables / "overall.csv")[columns]
    return f"\n{overall.round(3).to_string(index=False)}\n\nThe report is {LAYOUT.report}\n"
