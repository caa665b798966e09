"""What the rules share: the validated study, its cells and its paths. Makes no file."""

import functools
import json
import os
import shlex
import sys
from pathlib import Path

from snakemake.common.configfile import load_configfile
from snakemake.exceptions import WorkflowError
from snakemake.settings.types import DeploymentMethod
from snakemake.utils import update_config

# Where this file's project is: not workflow.basedir, which is another's that uses it as a module.
# Relative where that is possible, for inputs are compared by their names, and folders move.
ABSOLUTE_BASE = Path(str(workflow.current_basedir)).parents[1]
BASE = Path() if ABSOLUTE_BASE.samefile(Path.cwd()) else ABSOLUTE_BASE

# Planned and run by the same code, whatever is installed.
if str(ABSOLUTE_BASE / "workflow") not in sys.path:
    sys.path.insert(0, str(ABSOLUTE_BASE / "workflow"))

from powerblend.figures import FIGURES
from powerblend.infrastructure.progress import show_jobs
from powerblend.infrastructure.stale_locks import mark_alive
from powerblend.study.cells import NAME_PATTERN, loaded_for
from powerblend.study.code import code_of
from powerblend.study.layout import Layout, models
from powerblend.study.schema import parse_study
from powerblend.vocabulary.errors import ConfigError
from powerblend.vocabulary.specs import canonical

# `python` is the one that runs the workflow, unless jobs have environments of their own, which are
# activated before this.
EXPORTS = [f"PYTHONPATH={shlex.quote(str(ABSOLUTE_BASE / 'workflow'))}"]
if not workflow.deployment_settings.deployment_method & {
    DeploymentMethod.CONDA,
    DeploymentMethod.APPTAINER,
}:
    EXPORTS.append(f'PATH={shlex.quote(str(Path(sys.executable).parent))}:"$PATH"')
shell.prefix(f"export {' '.join(EXPORTS)}; ")
PACKAGE = BASE / "workflow" / "powerblend"

# Jobs of a run are no runs of their own.
if not (workflow.remote_exec or workflow.subprocess_exec):
    ALIVE = mark_alive()

# A module whose user gives it a configuration does not read its own.
SHIPPED = load_configfile(BASE / "config.yaml")
update_config(SHIPPED, config)
update_config(config, SHIPPED)

try:
    STUDY = parse_study(config)
    LAYOUT = Layout(STUDY)
    JOBS = LAYOUT.jobs
except ConfigError as error:
    raise WorkflowError(f"the configuration cannot be run:\n{error}")

CELLS = LAYOUT.cells
SPECS = {path.stem for path in LAYOUT.job_specs}
BETAS = {
    cell.name: path
    for name, path in LAYOUT.betas.items()
    for cell in LAYOUT.seeded_cells[name]
}
PROBE_TABLES = [
    LAYOUT.tables / f"probe_{part}.csv"
    for part in (("layers", "blends") if LAYOUT.probe else ())
]
PROBE_FILES = sorted(filter(None, {LAYOUT.probe, *LAYOUT.betas.values()}))
# The study's last: it may be what the draft is trained on.
DATASET_FILES = {
    **(
        {LAYOUT.training_problems.parent.name: LAYOUT.training_file}
        if LAYOUT.training_problems
        else {}
    ),
    LAYOUT.problems_dir.name: LAYOUT.dataset_file,
}
# What one generate job does; "{shard}" stands for any single one.
SHARDS_BY_JOB = [["{shard}"]] if STUDY.shards.per_job == 1 else LAYOUT.shards_by_job()
LOGS = LAYOUT.results / "logs"
MOST_SIBLINGS = 200  # that a command can name: the system bounds its length
DRAFTS = [LAYOUT.draft] if LAYOUT.draft else []
TIMES = LAYOUT.results / "times"
WHOLE_MODEL = [
    "model.safetensors",
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "chat_template.jinja",
]
MODEL_FILES = [LAYOUT.model / name for name in WHOLE_MODEL] if LAYOUT.model else []
ENVIRONMENTS = ABSOLUTE_BASE / "envs"
FIGURE_FILES = {
    kind: [LAYOUT.figures / f"{name}.{kind}" for name in FIGURES]
    for kind in ("png", "svg")
}

STUDIES = [os.path.relpath(path) for path in workflow.overwrite_configfiles]
SETTINGS = [
    f"{key}={json.dumps(value, ensure_ascii=False)}"
    for key, value in workflow.config_settings.config.items()
]
COMMAND = shlex.join(
    ["snakemake", "--cores", "all"]
    + (["--configfile", *STUDIES] if STUDIES else [])
    + (["--config", *SETTINGS] if SETTINGS else [])
)


wildcard_constraints:
    cell=NAME_PATTERN,
    digest=r"[0-9a-f]{10}",
    dataset=r"[0-9a-f]{10}",
    shard=r"shard-\d+-of-\d+",
    part=r"\d+",
    parts=r"\d+",
    samples=r"\d+",
    embedded=r"[\w.-]+",


def spec_of(name):
    """The file of what a job is to do. A cluster's job reads the configuration again, as it then is."""
    if name not in SPECS:
        raise WorkflowError(
            f"no condition makes {name}: the configuration was edited while the study "
            "ran; start it again (what is finished is kept)"
        )
    return LAYOUT.spec(name)


def missing(files):
    """Outputs whose names say what they hold: those that are not there yet.

    Of one that is there no job is the maker. If it were, Snakemake would not look at the reasons of
    those that read it whenever that job must run, for it is `ancient` to them.
    """
    return [path for path in files if not path.exists()]


def code(stage, chosen=""):
    """Inputs: the code that decides what a stage makes."""
    return local([PACKAGE / path for path in code_of(stage, chosen)])


def adapter_of(dataset):
    """Whose columns a dataset has; what a draft is trained on has the usual ones."""
    return STUDY.dataset.adapter if dataset == LAYOUT.problems_dir.name else "math"


def fetched_model(wildcards, input):
    """The option that names the model's directory, wherever the executor has put it."""
    if not input.model:
        return ""
    return shlex.join(["--model", str(Path(input.model[0]).parent)])


def options_of(*names):
    """A param: the options that name a job's input files, each by the name that the rule gives it."""
    return lambda wildcards, input: " ".join(
        shlex.join([f"--{name}", *_files(input[name])]) for name in names
    )


def _files(files):
    return [files] if isinstance(files, str) else map(str, files)


def with_rows(*options):
    """Further options of a job of the model, and its batch.

    Takes the resources, so as a param it is not tracked: the batch does not decide the outcome.
    """

    def settings(wildcards, input, output, resources):
        given = [o(wildcards) if callable(o) else o for o in options]
        words = [w for o in given for w in (o if isinstance(o, list) else [o])]
        batch = STUDY.resources
        words += ["--rows", batch.rows, "--speculate", batch.speculate]
        return shlex.join(map(str, words))

    return settings


def stores_of(shards):
    """Options of a job that does these shards: their names, and their chain stores."""

    def options(wildcards):
        names = [name.format(**wildcards) for name in shards]
        stores = [LAYOUT.chains(wildcards.cell, name) for name in names]
        return ["--shards", *names, "--store", *stores]

    return options


def siblings_of(shards):
    """Option: the cells whose answers to the same shards a job may go on with, by their specs.

    None for a cluster's job, which has a time limit of its own.
    """

    def options(wildcards):
        if workflow.remote_exec:
            return []
        names = tuple(name.format(**wildcards) for name in shards)
        own = loaded_for(JOBS[wildcards.cell].spec)
        siblings = [
            LAYOUT.spec(cell)
            for cell, loaded in unanswered(names, wildcards.samples)
            if loaded == own and cell != wildcards.cell
        ]
        return ["--siblings", *siblings[:MOST_SIBLINGS]] if siblings else []

    return options


@functools.cache
def unanswered(shards, samples):
    """Cells without records of some shards when the plan is made, and what they load: longest first."""
    folder = LAYOUT.results / "generate"
    cells = [cell for seeded in LAYOUT.seeded_cells.values() for cell in seeded]
    without = [
        (cell.name, loaded_for(cell.spec))
        for cell in {cell.name: cell for cell in cells}.values()
        if missing(folder / cell.name / f"{s}x{samples}.jsonl" for s in shards)
    ]
    return sorted(without, key=lambda cell: not has_moves(cell[0]))


def called(shards):
    """A name of a group of shards in paths: its first one, and how many there are."""
    return shards[0] if len(shards) == 1 else f"{shards[0]}-and-{len(shards) - 1}-more"


def draft_of(name):
    """The trained draft that a job mixes in, or nothing."""
    return LAYOUT.draft if getattr(JOBS[name].spec, "training", None) else []


def longest_first(wildcards):
    """Priority of a generate job: chains with moves take longest, so they start first."""
    return 10 if has_moves(wildcards.cell) else 0


def has_moves(cell):
    return JOBS[cell].spec.decoding.schedule().steps > 0


def device(wildcards, resources):
    """Where a job of the model computes: the study wants a GPU and the job has one, as gpu or gres.

    Takes the resources, so as a param it is not tracked: where a job runs does not decide its outcome.
    """
    granted = resources.gpu or "gpu" in resources.get("gres", "")
    return "cuda" if STUDY.resources.gpu and granted else "cpu"


def closing():
    """What a user sees when the study is done: where the report is, and its main table."""
    if not (LAYOUT.tables / "overall.csv").exists() or not LAYOUT.report.exists():
        return "\nDone, as far as was asked for.\n"
    # Whoever only plans a study waits for no pandas.
    import pandas as pd

    columns = "condition correct total accuracy low high decoded_tokens".split()
    overall = pd.read_csv(LAYOUT.tables / "overall.csv")[columns]
    return f"\n{overall.round(3).to_string(index=False)}\n\nThe report is {LAYOUT.report}\n"
