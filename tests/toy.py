"""A study at toy scale: what the workflow plans for it, and that done in one process.

The plan is the real workflow's dry run. Doing it in one process, with the very commands of the
plan, spares a minute of starting Python and importing torch.
"""

import json
import shlex
import subprocess
import sys
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from powerblend import cli
from small_study import ROOT, environment

PLANNER = """
import contextlib, io, json, sys
from snakemake.cli import main
for name, directory, *files in json.loads(sys.stdin.read()):
    options = ["--snakefile", sys.argv[1], "--directory", directory, "--configfile", *files]
    text = io.StringIO()
    with contextlib.redirect_stdout(text), contextlib.redirect_stderr(text):
        try:
            main([*options, "--dry-run", "--quiet", "host", "--printshellcmds"])
        except SystemExit as end:
            code = end.code
    print(json.dumps([name, code, text.getvalue()]))
"""
COMMAND = "Shell command: "


@dataclass
class Plan:
    """How many jobs each rule has, and what they do, in an order that can be followed."""

    jobs: Counter[str] = field(default_factory=Counter)
    commands: list[str] = field(default_factory=list)
    outputs: list[Path] = field(default_factory=list)


def plans(
    studies: Mapping[str, tuple[Path, Sequence[Path]]], snakefile: Path = ROOT / "Snakefile"
) -> dict[str, Plan]:
    """Dry runs of the workflow: of each study in its directory, with its configuration files."""
    asked = [[name, str(where), *map(str, files)] for name, (where, files) in studies.items()]
    done = subprocess.run(
        [sys.executable, "-c", PLANNER, str(snakefile)],
        input=json.dumps(asked),
        env=environment(),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    found = {}
    for name, code, text in map(json.loads, done.stdout.splitlines()):
        assert code == 0, f"{name}: {text}"
        found[name] = _plan(text)
    return found


def _plan(text: str) -> Plan:
    plan = Plan()
    for line in text.splitlines():
        words = line.strip()
        if line.startswith(("rule ", "localrule ")):
            plan.jobs[line.split()[1].rstrip(":")] += 1
        elif words.startswith("output: "):
            plan.outputs += map(Path, words.removeprefix("output: ").split(", "))
        elif words.startswith(COMMAND) and words != f"{COMMAND}None":
            plan.commands.append(words.removeprefix(COMMAND))
    return plan


def follow(plan: Plan, figures: Collection[str]) -> None:
    """Do what is planned, in the working directory; other figures are left empty."""
    for path in plan.outputs:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix in (".png", ".svg"):
            path.touch()
    for command in plan.commands:
        words = shlex.split(command)
        if "powerblend" in words:
            # Without the log: one process has one.
            arguments = words[words.index("powerblend") + 3 :]
            if arguments[0] == "figures":
                arguments += figures
            if figures or arguments[0] != "figures":
                assert cli.main(arguments) == 0, command
        else:
            Path(words[-1]).parent.mkdir(parents=True, exist_ok=True)
            subprocess.run(["bash", "-c", command], check=True)
