"""The workflow where its authors did not expect it: odd paths, other folders, modules, conda.

Nothing is generated: the jobs but the first are stand-ins (`dry_study.py`), or it is only planned.
"""

import fcntl
import os
import platform
import shlex
import shutil
import stat
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml
from snakemake.api import SnakemakeApi
from snakemake.exceptions import WorkflowError
from snakemake.settings.types import ConfigSettings, DAGSettings, ResourceSettings

from dry_study import WITH_DRAFT, DryStudy, quiet
from powerblend.cli import main
from powerblend.infrastructure.stale_locks import mark_alive
from powerblend.vocabulary.errors import ConfigError
from small_study import ROOT, parsed, write_study

WHOLE: dict[str, Any] = {"probe": {"enabled": False, "layers": []}, "use": ["greedy"]}


def plan(snakefile: Path, folder: Path, study: Path, **config: Any) -> list[Any]:
    """The jobs that a run in a folder would start."""
    with SnakemakeApi(quiet(dryrun=True)) as api:
        workflow = api.workflow(
            resource_settings=ResourceSettings(cores=1),
            config_settings=ConfigSettings(configfiles=[study], config=config),
            snakefile=snakefile,
            workdir=folder,
        )
        workflow.dag(DAGSettings()).execute_workflow(executor="dryrun")
        assert workflow._workflow is not None
        return list(workflow._workflow.dag.needrun_jobs(exclude_finished=False))


def test_a_path_that_a_shell_would_read_otherwise(tmp_path: Path) -> None:
    folder = tmp_path / "Jörg's $HOME; a&b"
    folder.mkdir()
    study = DryStudy(folder, **WHOLE)
    job = study.project / "workflow" / "powerblend" / "jobs" / "config.py"
    job.write_text(job.read_text() + "\nopen('by the copy', 'w').close()\n")
    study.run(until={"grade"})
    assert (study.folder / "by the copy").exists(), "another powerblend ran"
    assert len(list(study.folder.glob("results/small/grade/*/*/*.jsonl"))) == 1


def test_a_shipped_study_runs_in_any_folder(tmp_path: Path) -> None:
    jobs = plan(ROOT / "Snakefile", tmp_path, ROOT / "resources" / "studies" / "demo.yaml")
    conditions = yaml.safe_load((ROOT / "config.yaml").read_text())["use"]
    assert Counter(job.rule.name for job in jobs)["generate"] == len(conditions)


MODULE = """
configfile: "study.yaml"

module study:
    snakefile: {snakefile!r}
    config: config

use rule * from study as study_*

rule mine:
    input: "report/small.md", "report/small_answers.html"
    output: "mine.txt"
    shell: "cp {{input[0]}} {{output}}"
"""


def test_the_workflow_is_a_module(tmp_path: Path) -> None:
    """Its configuration is what the user gives it, over its own."""
    study = DryStudy(tmp_path, **WITH_DRAFT)
    (study.folder / "Snakefile").write_text(MODULE.format(snakefile=str(study.snakefile)))
    study.snakefile = study.folder / "Snakefile"
    study.run(targets={"mine"})
    assert (study.folder / "mine.txt").exists()
    assert str(study.project / "resources" / "published.yaml") in given_to(study, "report")
    assert study.planned(targets={"study_all"}) == {}


def given_to(study: DryStudy, rule: str) -> str:
    """The input files of a job, in the words of the plan that forces it."""
    jobs = plan(study.snakefile, study.folder, study.folder / "study.yaml", title="x")
    (job,) = [job for job in jobs if job.rule.name == f"study_{rule}"]
    return " ".join(job.input)


DEPLOYED = """
configfile: "config/config.yaml"

module powerblend:
    snakefile: {snakefile!r}
    config: config

use rule * from powerblend
"""


def test_a_deployed_workflow_runs_a_study_of_ones_own(tmp_path: Path) -> None:
    """Laid out as tools do it, with the configuration that comes for that."""
    shutil.copytree(ROOT / "config", tmp_path / "config")
    (tmp_path / "workflow").mkdir()
    outer = tmp_path / "workflow" / "Snakefile"
    outer.write_text(DEPLOYED.format(snakefile=str(ROOT / "workflow" / "Snakefile")))
    jobs = plan(outer, tmp_path, tmp_path / "config" / "config.yaml")
    assert {"study", "generate", "figures"} <= {job.rule.name for job in jobs}
    (page,) = [job.output.markdown for job in jobs if job.rule.name == "report"]
    assert page == "report/mine.md"


def test_the_reports_command_has_what_config_was_given(tmp_path: Path) -> None:
    study = DryStudy(tmp_path, **WHOLE)
    given = {"title": "A 'title'", "decoding": {"steps": 3}}
    jobs = plan(study.snakefile, study.folder, study.folder / "study.yaml", **given)
    (report,) = [job for job in jobs if job.rule.name == "report"]
    command = shlex.split(report.params.command)
    assert command[:4] == ["snakemake", "--cores", "all", "--configfile"]
    settings = command[command.index("--config") + 1 :]
    read = [setting.split("=", maxsplit=1) for setting in settings]
    assert {key: yaml.safe_load(value) for key, value in read} == given


@pytest.mark.parametrize("name", ["p.csv", "data/p.json", "p.jsonl.gz"])
def test_a_dataset_of_another_ending_is_refused_at_once(tmp_path: Path, name: str) -> None:
    study = DryStudy(tmp_path, **WHOLE, dataset={"name": name})
    ending = "give a file that ends in .jsonl or .parquet, or a hub id"
    with pytest.raises(WorkflowError, match=ending):
        study.planned()


CONDA = """#!/bin/sh
case "$1 $2" in
"info --json") echo '{{"conda_prefix": "{base}", "platform": "linux-64"}}' ;;
"--version ") echo conda 24.7.1 ;;
"config --get") echo '{{"get": {{"channel_priority": "strict"}}}}' ;;
"env create")
    for word; do file=$next; next=$word; done
    mkdir -p "$word/bin"
    printf '#!/bin/sh\\ntouch by-conda\\nexec {python} "$@"\\n' > "$word/bin/python"
    chmod +x "$word/bin/python" ;;
*) echo "conda $*" >&2; exit 1 ;;
esac
"""


def test_a_conda_environment_is_what_its_jobs_run_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a stand-in for conda, that makes environments as Snakemake asks for them."""
    base = tmp_path / "base" / "bin"
    base.mkdir(parents=True)
    conda = CONDA.format(base=base.parent, python=shlex.quote(sys.executable))
    (base / "conda").write_text(conda)
    (base / "conda").chmod(0o755)
    (base / "activate").write_text('export CONDA_PREFIX="$1" PATH="$1/bin:$PATH"\n')
    monkeypatch.setenv("PATH", f"{base}:{os.environ['PATH']}")
    study = DryStudy(tmp_path, **WHOLE)
    study.run(until={"problems"}, conda=True)
    assert (study.folder / "by-conda").exists()
    (copied,) = (study.folder / ".snakemake" / "conda").glob("*.yaml")
    assert "requirement" not in copied.read_text()


@pytest.fixture
def locked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A lock of Snakemake's in the working directory."""
    monkeypatch.chdir(tmp_path)
    lock = tmp_path / ".snakemake" / "locks" / "0.output.lock"
    lock.parent.mkdir(parents=True)
    lock.write_text("results/small/tables/overall.csv\n")
    return lock


def was_begun_on(machine: str) -> Path:
    alive = Path(".snakemake", "alive")
    alive.write_text(f"{machine}\n")
    return alive


def test_a_lock_of_a_dead_run_is_removed(locked: Path) -> None:
    was_begun_on(platform.node())
    assert mark_alive() is not None
    assert not locked.exists()


def test_a_lock_of_a_run_that_lives_stays(locked: Path) -> None:
    with was_begun_on(platform.node()).open() as other:
        fcntl.flock(other, fcntl.LOCK_SH)
        assert mark_alive() is not None
        assert locked.exists()


@pytest.mark.parametrize("machine", ["another", ""])
def test_a_lock_of_another_machine_stays(locked: Path, machine: str) -> None:
    """Or one of which nothing is known."""
    was_begun_on(machine)
    assert mark_alive() is not None
    assert locked.exists()


def test_where_nothing_can_be_marked_all_locks_stay(locked: Path) -> None:
    Path(".snakemake", "alive").mkdir()
    assert mark_alive() is None
    assert locked.exists()


def test_what_a_library_keeps_to_itself_is_shared(tmp_path: Path) -> None:
    from powerblend.infrastructure.files import share

    weights = tmp_path / "model.safetensors"
    weights.touch(mode=0o600)
    before = os.umask(0o027)
    try:
        share(weights)
    finally:
        os.umask(before)
    assert stat.S_IMODE(weights.stat().st_mode) == 0o640


def test_a_log_that_cannot_be_written_ends_in_a_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--log", str(tmp_path), "schema"]) == 1
    assert f"error: --log {tmp_path}: cannot be written (Is a directory)" in capsys.readouterr().err


def test_a_grading_without_its_grader_is_named(tmp_path: Path) -> None:
    sentence = "grading: give a mapping that names its grader \\(it is {'run_code': True}\\)"
    with pytest.raises(ConfigError, match=sentence):
        parsed(write_study(tmp_path, grading={"run_code": True}))
