"""The engine alone: what `pip install powerblend` gives works without the study's packages."""

import subprocess
import sys
import tomllib
from importlib.metadata import distribution
from pathlib import Path

import pytest

from small_study import ROOT, environment

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
OF_THE_STUDY = [
    "accelerate",
    "datasets",
    "gguf",
    "markdown_it",
    "math_verify",
    "matplotlib",
    "pandas",
    "pebble",
    "scipy",
    "sentencepiece",
    "snakemake",
    "statsmodels",
]  # and sympy, but torch brings that
WITHOUT_THE_STUDY = f"""
import sys
sys.modules.update(dict.fromkeys({OF_THE_STUDY}))
"""
"""The beginning of a program for which those packages are not installed."""


def run(program: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", WITHOUT_THE_STUDY + program],
        env=environment() | {"PYTHONPATH": f"{ROOT / 'workflow'}:{ROOT / 'tests'}"},
        capture_output=True,
        text=True,
    )


@pytest.mark.package
def test_the_engine_samples_without_the_packages_of_the_study(embedded: Path) -> None:
    line = ["sample", str(embedded), "What is 12 + 30?", "--alpha", "4", "--samples", "2"]
    line += ["--max-new-tokens", "8", "--blocks", "2"]
    done = run(f"from powerblend.cli import main; sys.exit(main({line}))")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("log p -") == 2
    assert "moves accepted" in done.stdout
    assert "12 + 30" in done.stdout


def test_a_command_of_the_study_says_what_it_needs() -> None:
    done = run("from powerblend.cli import main; sys.exit(main(['tables', '--help']))")
    assert done.returncode == 1
    assert done.stderr == "powerblend: this needs pandas: pip install 'powerblend[study]'\n"


def test_the_server_says_what_it_needs() -> None:
    absent = "sys.modules['uvicorn'] = None;"
    done = run(f"{absent} from powerblend.cli import main; sys.exit(main(['serve', '--help']))")
    assert done.returncode == 1
    assert done.stderr == "powerblend: this needs uvicorn: pip install 'powerblend[serve]'\n"


def test_help_begins_with_what_a_newcomer_can_type() -> None:
    done = run("from powerblend.cli import main; main(['--help'])")
    assert 'powerblend sample MODEL "What is 12 + 30?" --alpha 4 --samples 4' in done.stdout


def test_the_engine_asks_for_nothing_of_the_study() -> None:
    names = {line.split(">")[0].split("=")[0] for line in PROJECT["dependencies"]}
    assert names == {"numpy", "psutil", "pydantic", "safetensors", "torch", "transformers"}


def test_the_locked_torch_is_one_that_the_package_allows() -> None:
    from packaging.requirements import Requirement

    (torch,) = [line for line in PROJECT["dependencies"] if line.startswith("torch")]
    lock = (ROOT / "envs" / "cpu.lock").read_text().splitlines()
    (locked,) = [line.split("==")[1] for line in lock if line.startswith("torch==")]
    assert Requirement(torch).specifier.contains(locked)
    assert Requirement(torch).specifier.contains(distribution("torch").version.split("+")[0])


@pytest.mark.package
def test_wheel_and_source_install_into_an_empty_environment(tmp_path: Path, embedded: Path) -> None:
    source, built = tmp_path / "source", tmp_path / "built"
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(source)], check=True)
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "empty")], check=True)
    python, command = (tmp_path / "empty" / "bin" / name for name in ("python", "powerblend"))
    pip = [str(python), "-m", "pip", "--quiet"]
    subprocess.run([*pip, "install", "build"], check=True)
    subprocess.run([str(python), "-m", "build", "--outdir", str(built), str(source)], check=True)
    (wheel,), (archive,) = built.glob("*.whl"), built.glob("*.tar.gz")
    # The locked versions, so that no build of torch for GPUs is fetched.
    lock = ["--constraint", str(ROOT / "envs" / "cpu.lock")]
    subprocess.run([*pip, "install", *lock, str(wheel)], check=True)
    asked = [str(command), "sample", str(embedded), "Hello", "--max-new-tokens", "4", "--blocks=1"]
    for package in (wheel, archive):
        subprocess.run(
            [*pip, "install", "--no-deps", "--force-reinstall", str(package)], check=True
        )
        done = subprocess.run(asked, cwd=tmp_path, capture_output=True, text=True, check=True)
        assert "log p -" in done.stdout
