"""A grader that was mended makes grades anew, and nothing else but what is made of them."""

import shutil
import sys
from pathlib import Path

from small_study import ROOT, run, write_study


def test_a_changed_grader_grades_anew_and_generates_nothing(tmp_path: Path) -> None:
    project, folder = tmp_path / "project", tmp_path / "study"
    for name in ("workflow", "resources", "envs"):
        shutil.copytree(ROOT / name, project / name, ignore=shutil.ignore_patterns("__py*"))
    for name in ("Snakefile", "config.yaml"):
        shutil.copy(ROOT / name, project)
    folder.mkdir()
    study = write_study(folder, use=["greedy"], shards={"of": 1, "use": [0]})
    snakemake = [
        *("env", f"PYTHONPATH={project / 'workflow'}", sys.executable, "-m", "snakemake"),
        *("--snakefile", str(project / "Snakefile"), "--cores", "2", "--configfile", str(study)),
        *("--until", "grade", "--quiet", "host"),
    ]

    def planned() -> list[str]:
        lines = run(*snakemake, "--dry-run", cwd=folder).stdout.splitlines()
        return [line.split()[1] for line in lines if line.startswith(("rule ", "localrule "))]

    run(*snakemake, cwd=folder)
    assert planned() == []
    boxed = project / "workflow" / "powerblend" / "graders" / "boxed.py"
    boxed.write_text(boxed.read_text() + "\n# Mended.\n")
    assert planned() == ["grade:"]
