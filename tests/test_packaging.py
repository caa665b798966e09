"""The engine alone: what `pip install .` gives works without the study's packages."""

import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement

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
    known = {"llvmlite", "numpy", "psutil", "pydantic", "safetensors", "torch", "transformers"}
    assert names == known


def torch_range() -> Requirement:
    (line,) = [line for line in PROJECT["dependencies"] if line.startswith("torch")]
    return Requirement(line)


def locked_torch() -> str:
    lock = (ROOT / "envs" / "cpu.lock").read_text().splitlines()
    (locked,) = [line.split("==")[1] for line in lock if line.startswith("torch==")]
    return locked


def lowest_torch() -> str:
    """The first release of the range, as 2.12.0 of >=2.12."""
    (bound,) = [bound for bound in torch_range().specifier if bound.operator == ">="]
    return ".".join([*bound.version.split("."), "0", "0"][:3])


def test_the_locked_torch_is_one_that_the_package_allows() -> None:
    allowed = torch_range().specifier
    assert allowed.contains(locked_torch())
    assert allowed.contains(lowest_torch())
    assert allowed.contains(distribution("torch").version.split("+")[0])
    assert lowest_torch() != locked_torch()


def test_the_package_is_imported_within_half_a_second() -> None:
    """The engine is imported when it is first asked for."""
    program = "import powerblend, sys; print({'torch', 'transformers', 'numpy'} & {*sys.modules})"
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", program],
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "set()\n"
    (line,) = [line for line in done.stderr.splitlines() if line.endswith("| powerblend")]
    assert int(line.split("|")[1]) < 500_000  # microseconds, what it imports included


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The wheel and the source distribution, as `python -m build` makes them of a fresh clone."""
    folder = tmp_path_factory.mktemp("packages")
    source, built = folder / "source", folder / "built"
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(source)], check=True)
    subprocess.run([sys.executable, "-m", "venv", str(folder / "builder")], check=True)
    python = str(folder / "builder" / "bin" / "python")
    subprocess.run([python, "-m", "pip", "--quiet", "install", "build"], check=True)
    subprocess.run([python, "-m", "build", "--outdir", str(built), str(source)], check=True)
    return [*built.glob("*.whl"), *built.glob("*.tar.gz")]


@pytest.fixture
def empty(tmp_path: Path) -> Iterator[Path]:
    """An empty environment, of which nothing stays: with torch it takes gigabytes."""
    environment = tmp_path / "empty"
    subprocess.run([sys.executable, "-m", "venv", str(environment)], check=True)
    yield environment
    shutil.rmtree(environment)


@pytest.mark.package
@pytest.mark.parametrize("torch", ["locked", "lowest"])
def test_wheel_and_source_install_into_an_empty_environment(
    torch: str, packages: list[Path], empty: Path, tmp_path: Path, embedded: Path
) -> None:
    """With the locked versions; of torch with the lowest one that is allowed, too.

    The lowest is fetched for GPUs, about 3 GB, unless pip is told where one for CPUs is
    (PIP_FIND_LINKS, PIP_EXTRA_INDEX_URL).
    """
    python, command = (str(empty / "bin" / name) for name in ("python", "powerblend"))
    pip = [python, "-m", "pip", "--quiet", "install"]
    lock = (ROOT / "envs" / "cpu.lock").read_text()
    version = locked_torch() if torch == "locked" else lowest_torch()
    constraint = tmp_path / "constraint.txt"
    constraint.write_text(lock.replace(f"torch=={locked_torch()}", f"torch=={version}"))
    wheel, archive = packages
    subprocess.run([*pip, "--constraint", str(constraint), str(wheel)], check=True)
    has = "import torch; print(torch.__version__.split('+')[0])"
    found = subprocess.run([python, "-c", has], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == version
    asked = [command, "sample", str(embedded), "Hello", "--max-new-tokens", "4", "--blocks=1"]
    for package in (wheel, archive):
        subprocess.run([*pip, "--no-deps", "--force-reinstall", str(package)], check=True)
        done = subprocess.run(asked, cwd=tmp_path, capture_output=True, text=True, check=True)
        assert "log p -" in done.stdout
