"""A study whose jobs make empty files, in a copy of the project: for what is planned, and when.

The workflow, its configuration and its specs are the real ones. Every other job is a stand-in,
found before the package because it lies in the working directory.
"""

import json
import shutil
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import yaml
from snakemake.api import DAGApi, SnakemakeApi
from snakemake.settings.enums import Quietness
from snakemake.settings.types import (
    ConfigSettings,
    DAGSettings,
    DeploymentMethod,
    DeploymentSettings,
    OutputSettings,
    ResourceSettings,
)

import tiny
from powerblend.figures import FIGURES
from small_study import ROOT, merged, problems

STAND_IN = """
import os, sys, time
from pathlib import Path

job = next(word for word in sys.argv[1:] if word in JOBS)
given = dict(zip(sys.argv[1:], sys.argv[2:]))
if job in ("config", "specs"):
    os.execv(sys.executable, [sys.executable, "-P", "-m", "powerblend", *sys.argv[1:]])
output = Path(given["--output"])
busy = Path("busy")
if job == "generate" and busy.exists():
    (busy / str(os.getpid())).touch()
    deadline = time.monotonic() + 60
    while len(list(busy.iterdir())) < 8 and time.monotonic() < deadline:
        time.sleep(0.02)
    Path("most").write_text(str(len(list(busy.iterdir()))))
if job == "train-draft":
    output.mkdir(parents=True, exist_ok=True)
    output /= "config.json"
if job == "figures":
    for path in (output / f"{name}.{kind}" for name in FIGURES for kind in ("png", "svg")):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    sys.exit()
output.parent.mkdir(parents=True, exist_ok=True)
header = "condition,correct,total,accuracy,low,high,decoded_tokens\\n"
output.write_text(header if job == "tables" else sys.argv[-1])
if job == "tables":
    Path(given["--summary"]).touch()
    for part in ("layers", "blends"):
        output.with_name(f"probe_{part}.csv").touch()
if job == "report":
    Path(given["--html"]).touch()
"""

JOBS = [
    *("config", "specs", "problems", "check", "probe", "match", "train-draft", "generate", "grade"),
    *("tables", "figures", "report", "answers"),
]


def _params(job: Any) -> Any:
    job._params = None  # as if it had not been asked for
    return job.params


def quiet(dryrun: bool) -> OutputSettings:
    """What Snakemake is to print: failures."""
    return OutputSettings(dryrun=dryrun, quiet={Quietness.ALL}, show_failed_logs=True)


class DryStudy:
    """The copy of the project, and the study in it."""

    def __init__(self, folder: Path, **changes: Any) -> None:
        self.project, self.folder = folder / "project", folder / "study"
        self.snakefile = self.project / "Snakefile"
        self.project.mkdir()
        self.folder.mkdir()
        for name in ("Snakefile", "config.yaml"):
            shutil.copy2(ROOT / name, self.project / name)
        for name in ("workflow", "resources", "envs"):
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / name, self.project / name, ignore=ignored)
        package = self.folder / "powerblend"
        package.mkdir()
        (package / "__init__.py").touch()
        stand_in = f"JOBS = {JOBS!r}\nFIGURES = {(*FIGURES,)!r}\n{STAND_IN}"
        (package / "__main__.py").write_text(stand_in)
        self.write_problems("data.jsonl", problems())
        self.write_problems("train.jsonl", problems(12)[6:])
        (self.folder / "shots.yaml").write_text("- {problem: '1 + 1', solution: '2'}\n")
        tiny.save(self.folder / "model")
        self.settings = merged(SETTINGS, changes)
        self.write()

    def write_problems(self, name: str, rows: list[dict[str, Any]]) -> None:
        """A file of problems."""
        (self.folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows))

    def write(self, **changes: Any) -> None:
        """The study's configuration, with changes."""
        (self.folder / "study.yaml").write_text(yaml.safe_dump(merged(self.settings, changes)))

    def run(self, cores: int = 2, gpus: int = 0, conda: bool = False, **settings: Any) -> None:
        """Run the workflow in the copy."""
        deployed = {DeploymentMethod.CONDA} if conda else set()
        with self._workflow(settings, False, cores, {"gpu": gpus}, deployed) as workflow:
            workflow.execute_workflow()

    def planned(self, **settings: Any) -> dict[str, int]:
        """How many jobs of each rule a dry run would start; Snakemake's `DAGSettings`."""
        with self._workflow(settings) as workflow:
            workflow.execute_workflow(executor="dryrun")
            dag = workflow.workflow_api._workflow.dag
            jobs = Counter(job.rule.name for job in dag.needrun_jobs(exclude_finished=False))
        jobs.pop("all", None)
        return dict(jobs)

    def settings_of(self, rule: str, remote: bool = False) -> dict[str, str]:
        """The param `settings` of a rule's jobs by cell, as a cluster's job or another has it."""
        with self._workflow({}) as workflow:
            workflow.execute_workflow(executor="dryrun")
            dag = workflow.workflow_api._workflow.dag
            jobs = [job for job in dag.jobs if job.rule.name == rule]
            with patch.object(type(dag.workflow), "remote_exec", remote):
                return {job.wildcards.cell: _params(job)["settings"] for job in jobs}

    @contextmanager
    def _workflow(
        self,
        settings: dict[str, Any],
        dryrun: bool = True,
        cores: int = 2,
        resources: dict[str, int] | None = None,
        deployed: Collection[DeploymentMethod] = (),
    ) -> Iterator[DAGApi]:
        """In this process, for to start Snakemake takes ten times as long as to plan."""
        with SnakemakeApi(quiet(dryrun)) as api:
            workflow = api.workflow(
                resource_settings=ResourceSettings(cores=cores, resources=resources or {}),
                config_settings=ConfigSettings(configfiles=[self.folder / "study.yaml"]),
                deployment_settings=DeploymentSettings(deployment_method=set(deployed)),
                snakefile=self.snakefile,
                workdir=self.folder,
            )
            yield workflow.dag(DAGSettings(**settings))


SETTINGS: dict[str, Any] = {
    "study": "small",
    "model": {"name": "model", "revision": None, "dtype": "float64"},
    "dataset": {"name": "data.jsonl", "revision": None},
    "prompt": {"template": "{problem}", "shots": "shots.yaml"},
    "shards": {"of": 2, "use": [0]},
    "use": ["greedy", "ps", "blend_ps"],
    "decoding": {"max_new_tokens": 8, "blocks": 2, "steps": 2},
    "blends": {"layer": {"layer": 1}},
    "probe": {"layers": [1], "over": "greedy"},
    "resources": {"rows": 4, "gpu": 0, "threads": 1, "mem_mb": 500},
}

WITH_DRAFT: dict[str, Any] = {
    "use": ["greedy", "ps", "blend_ps", "draft_blend_ps"],
    "blends": {"draft": {"draft": "trained", "revision": None}},
    "training": {"problems": "train.jsonl", "mask_token": "~", "max_new_tokens": 8, "steps": 3},
}
