"""The guide to extending: its examples, applied to a copy of the package as they stand, work."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from powerblend.study.schema import parse_study
from small_study import ROOT, environment, merged

GUIDE = ROOT / "docs" / "extending.md"
BLOCK = re.compile(r"^`([\w./]+)`:\n\n```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
ROWS = [
    {"ID": "chal-1", "Body": "Ann has 3 figs. ", "Question": "She eats 1. How many are left?"}
    | {"Equation": "( 3.0 - 1.0 )", "Answer": 2.0, "Type": "Subtraction"},
    {"ID": "chal-2", "Body": "A box holds 4 pens.", "Question": "How many do 3 hold?"}
    | {"Equation": "( 4.0 * 3.0 )", "Answer": "12.0", "Type": "Multiplication"},
]


def test_the_examples_work(tmp_path: Path) -> None:
    shutil.copytree(
        ROOT / "workflow", tmp_path / "workflow", ignore=shutil.ignore_patterns("__py*")
    )
    blocks = BLOCK.findall(GUIDE.read_text(encoding="utf-8"))
    assert len(blocks) == 14
    for name, language, text in blocks:
        path = tmp_path / name
        if language == "diff":
            path.write_text(patched(path.read_text(encoding="utf-8"), text), encoding="utf-8")
        else:
            assert not path.exists()
            path.write_text(text, encoding="utf-8")
    (tmp_path / "svamp.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    paths = [str(tmp_path / "workflow"), str(ROOT / "tests")]
    done = subprocess.run(
        [sys.executable, str(ROOT / "tests" / "extended.py"), str(ROOT / "config.yaml")],
        cwd=tmp_path,
        env=environment() | {"PYTHONPATH": ":".join(paths)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert (
        done.stdout.splitlines()[-1]
        == "own, condition, sweep, sampler, kernel, blend, dataset, grader"
    )


def test_every_benchmark_is_listed() -> None:
    folder = ROOT / "benchmarks"
    listed = re.findall(r"benchmarks/(\w+)\.py", (folder / "README.md").read_text())
    assert set(listed) == {path.stem for path in folder.glob("*.py")} - {"bench", "reference"}


CANNOT_RUN = {
    "host.py --rows 2 --device-ms 6 --new 8 --repeats 1": "decode more tokens with --new",
    "host.py --rows 4 8 --device-ms 6": "--device-ms: give 2 of them, as many as --rows",
    "gpu.py": "there is no GPU; try it out with --device cpu --layers 2",
    "gpu_breakdown.py": "there is no GPU; try it out with --device cpu --layers 2",
    "grading.py --pairs none.jsonl": "--pairs: there are no pairs in none.jsonl",
    "work.py": "smollm2-135m-instruct: run make demo first",
}
"""Commands of benchmarks that cannot be run, and the end of the sentence that says why."""

IN_ONE_PROCESS = """
import contextlib, io, json, runpy, sys
from pathlib import Path
sys.path.insert(0, "benchmarks")
for path in sorted(Path("benchmarks").glob("*.py")):
    __import__(path.stem)
refused = {}
for command in json.loads(sys.argv[1]):
    sys.argv = ["benchmarks/" + command.split()[0], *command.split()[1:]]
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            runpy.run_path(sys.argv[0], run_name="__main__")
    except SystemExit as refusal:
        refused[command] = (said.getvalue() if refusal.code == 2 else refusal.code).rstrip()
print(json.dumps(refused))
"""


def test_every_benchmark_starts_and_says_what_it_lacks(tmp_path: Path) -> None:
    """Each is imported, which finds what a change of the engine has broken."""
    shutil.copytree(ROOT / "benchmarks", tmp_path / "benchmarks")
    done = subprocess.run(
        [sys.executable, "-c", IN_ONE_PROCESS, json.dumps(list(CANNOT_RUN))],
        cwd=tmp_path,
        env=environment() | {"CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": str(ROOT / "tests")},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    refused = json.loads(done.stdout.splitlines()[-1])
    assert refused.keys() == CANNOT_RUN.keys()
    for command, sentence in CANNOT_RUN.items():
        assert refused[command].endswith(sentence)


def patched(text: str, diff: str) -> str:
    """Apply a diff whose lines of context, in order, say where its changes belong."""
    lines, at = text.splitlines(), 0
    for change in diff.splitlines():
        mark, line = change[:1], change[1:]
        if mark == "+":
            lines.insert(at, line)
            at += 1
            continue
        assert line in lines[at:], f"no line {line!r} for the guide's diff"
        at = lines.index(line, at) + 1
        if mark == "-":
            at -= 1
            del lines[at]
    return "\n".join(lines) + "\n"


def test_a_diff_that_does_not_fit_is_noticed() -> None:
    assert patched("a\nb\nc\n", " a\n+x\n-b\n+y\n") == "a\nx\ny\nc\n"
    with pytest.raises(AssertionError, match="no line 'q'"):
        patched("a\n", "-q\n+x\n")


def test_the_readme_leads_to_the_guide_and_to_every_study() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert "(docs/extending.md)" in readme
    for study in (ROOT / "resources" / "studies").glob("*.yaml"):
        assert f"`{study.stem}`" in readme


def test_links_within_the_guide_lead_somewhere() -> None:
    text = GUIDE.read_text(encoding="utf-8")
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    anchors = {heading.lower().replace(" ", "-") for heading in headings}
    assert set(re.findall(r"\(#([^)]+)\)", text)) <= anchors


def test_the_sweep_of_the_guide_is_what_it_says() -> None:
    (text,) = (text for name, _, text in BLOCK.findall(GUIDE.read_text()) if name == "alphas.yaml")
    base = yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8"))
    names = list(parse_study(merged(base, yaml.safe_load(text))).samplers())
    assert "blend_ps_alpha_2_beta_m0p05" in names
    assert "ps_alpha_4" not in names
    assert len(names) == 4 + 2 + 1 + 5


def test_clean_removes_nothing_that_the_repository_holds() -> None:
    _, recipe = (ROOT / "Makefile").read_text(encoding="utf-8").split("\nclean:\n\trm -rf ")
    assert recipe.split() == [".venv", ".venv-docs", "site", "results/demo"]
