"""Samplers that were added as the guide says: planned, run and rightly described by the study."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from small_study import ROOT, environment, write_study

TOP2 = '''
"""Sampling from the two most likely tokens."""

from typing import Literal

import torch
from torch import Tensor

from powerblend.engine import distributions
from powerblend.engine.chain import Schedule
from powerblend.samplers.base import Sampler


class Top2(Sampler):
    """The others are e^30 times less likely than they were."""

    sampler: Literal["top2"]

    def schedule(self) -> Schedule:
        return Schedule(self.max_new_tokens)

    def draw(self, logits: distributions.Logits, uniforms: Tensor, current: Tensor):
        second = logits.target.topk(2).values[:, -1:]
        cut = torch.where(logits.target >= second, logits.target, logits.target - 30)
        return distributions.temperature(
            distributions.Logits(logits.base, cut), uniforms, current, 1.0
        )
'''

CHAIN = '''
"""Metropolis-Hastings with a schedule of its own."""

from typing import Literal

from torch import Tensor

from powerblend.engine import distributions
from powerblend.engine.chain import Schedule
from powerblend.samplers.base import Sampler


class Stubborn(Sampler):
    """Power sampling at alpha = 2 in two stages of three moves, by the published acceptance."""

    sampler: Literal["stubborn_mh3"]

    def schedule(self) -> Schedule:
        return Schedule(self.max_new_tokens, 2, 3, "published")

    def draw(self, logits: distributions.Logits, uniforms: Tensor, current: Tensor):
        return distributions.power(logits, uniforms, current, 2.0, "base")
'''

FOLLOW = """
import sys
from pathlib import Path

from matplotlib.text import Text

from powerblend.figures import draw_figure
from powerblend.vocabulary.published import PublishedNumbers
from powerblend.vocabulary.summary import Summary
from toy import follow, plans

snakefile, study = map(Path, sys.argv[1:])
follow(plans({"own": (study.parent, [study])}, snakefile)["own"], figures=())
summary = Summary.read(Path("results/small/tables/summary.json"))
figure = draw_figure("architecture", summary, PublishedNumbers())
print([text.get_text() for text in figure.findobj(Text)])
"""

CONDITIONS = {
    "top2": {"sampler": "top2"},
    "stubborn": {"sampler": "stubborn_mh3"},
    "stubborn_blend": {"sampler": "stubborn_mh3", "blend": "layer"},
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a study with both samplers that has run, beside its copy of the project."""
    project = tmp_path_factory.mktemp("project")
    for name in ("workflow", "resources", "envs"):
        shutil.copytree(ROOT / name, project / name, ignore=shutil.ignore_patterns("__py*"))
    for name in ("Snakefile", "config.yaml"):
        shutil.copy(ROOT / name, project)
    samplers = project / "workflow" / "powerblend" / "samplers"
    (samplers / "top2.py").write_text(TOP2)
    (samplers / "stubborn.py").write_text(CHAIN)
    registry = samplers / "__init__.py"
    text = registry.read_text().replace(
        "from powerblend.samplers.power import Power\n",
        "from powerblend.samplers.power import Power\n"
        "from powerblend.samplers.stubborn import Stubborn\n"
        "from powerblend.samplers.top2 import Top2\n",
    )
    text = text.replace(
        '    "power": Power,\n',
        '    "power": Power,\n    "top2": Top2,\n    "stubborn_mh3": Stubborn,\n',
    )
    registry.write_text(text)
    folder = tmp_path_factory.mktemp("study")
    study = write_study(
        folder,
        conditions=CONDITIONS,
        use=["greedy", *CONDITIONS],
        shards={"of": 1, "use": [0]},
        contrasts=["stubborn - top2"],
    )
    # The workflow plans it; the plan's own commands are then followed in one process.
    paths = [str(project / "workflow"), str(ROOT / "tests")]
    done = subprocess.run(
        [sys.executable, "-c", FOLLOW, str(project / "Snakefile"), str(study)],
        cwd=folder,
        env=environment() | {"PYTHONPATH": ":".join(paths), "MPLBACKEND": "agg"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (folder / "figure.txt").write_text(done.stdout)
    return folder


def rows(finished: Path) -> dict[str, list[str]]:
    """The rows of the report's tables that begin with a condition, cells apart."""
    report = (finished / "report" / "small.md").read_text()
    found: dict[str, list[str]] = {}
    for line in report.splitlines():
        if line.startswith("| `"):
            name, *cells = (cell.strip() for cell in line.strip("|").split("|"))
            found.setdefault(name.strip("`"), []).append(" | ".join(cells))
    return found


def test_their_names_are_those_of_their_files(finished: Path) -> None:
    cells = {path.name[:-11] for path in (finished / "results/small/generate").iterdir()}
    assert cells == {"greedy", "top2", "stubborn_mh3", "blend_stubborn_mh3-b0.05-l1"}


def test_the_report_says_how_they_draw(finished: Path) -> None:
    assert "p | top2: a draw per token from p | no | —" in rows(finished)["top2"]
    chain = "3 moves × 2 blocks, acceptance `published`, proposals from p"
    assert (
        f"p | stubborn mh3: Metropolis–Hastings over answers of p | {chain} | —"
        in (rows(finished)["stubborn"])
    )
    (blended,) = (row for row in rows(finished)["stubborn_blend"] if chain in row)
    assert blended.startswith("p_guided | stubborn mh3: Metropolis–Hastings over answers of p_gu")


def test_the_limitations_are_those_of_their_chains(finished: Path) -> None:
    report = (finished / "report" / "small.md").read_text()
    _, limitations = report.split("## 7. Limitations")
    assert "**Short chains**: 3 moves per block" in limitations
    assert "A chain this short" in limitations
    assert "in `stubborn` and `stubborn_blend`: it is not exact" in limitations


def test_the_tables_have_their_moves(finished: Path) -> None:
    summary = json.loads((finished / "results/small/tables/summary.json").read_text())
    chains = [chain["condition"] for chain in summary["chains"]]
    assert chains == ["stubborn", "stubborn_blend"]
    acceptance = {row["condition"]: row["acceptance"] for row in summary["overall"]}
    assert acceptance["top2"] is None
    assert 0 < acceptance["stubborn"] <= 1


def test_the_architecture_figure_has_a_column_for_each(finished: Path) -> None:
    texts = (finished / "figure.txt").read_text()
    for words in ("'top2'", "'stubborn mh3'", "Metropolis–Hastings\\nover whole answers"):
        assert words in texts
