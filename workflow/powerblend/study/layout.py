"""Where everything is: the one place that knows the paths under ``results`` and ``report``.

results/models/NAME/                            a model that the workflow fetched
results/STUDY/config-DIGEST.json                a merged configuration that ran
results/STUDY/checked.json                      what was checked before anything was generated
results/STUDY/problems/DATASET/                 problems.jsonl and its shards
results/STUDY/draft/DIGEST/                     a trained draft, and training.json
results/STUDY/probe/                            probe-DIGEST.json; beta-DIGEST.json, a matched beta
results/STUDY/chains/CELL/SHARD.jsonl           chain store: finished chains, as they finish
results/STUDY/generate/CELL/SHARDxSAMPLES.jsonl generation records, complete and sorted
results/STUDY/grade/GRADER-DIGEST/CELL/         their grades, in files of the same names
results/STUDY/tables/                           overall.csv and summary.json
report/STUDY.md, report/STUDY/                  the report and its figures
"""

import re
from pathlib import Path

from powerblend.study.cells import (
    Cell,
    betas_of,
    canonical,
    cells_of,
    digest,
    probe_of,
    training_of,
)
from powerblend.study.problems import LOCAL
from powerblend.study.schema import ConfigError, Study

EMBEDDED = "embedded/"
"""Prefix of the names of models that the workflow fetches itself."""


class Layout:
    """The paths of one study under ``root``, the working directory or an executor's copy of it.

    ``model`` is the directory of a model that the workflow fetches, None for any other.

    Raises
    ------
    ConfigError
        If the name of a model to fetch cannot be that of a directory.
    """

    def __init__(self, study: Study, root: Path = Path()) -> None:
        self._study, self._root = study, root
        self.results = root / "results" / study.study
        # By its content: a changed parameter goes unseen in a fresh clone, a missing file never.
        self.config = self.results / f"config-{digest(canonical(study.model_dump()))}.json"
        fetched = _fetched(study.model.name)
        self.model = fetched and root / fetched
        self.checked = self.results / "checked.json"
        dataset = digest(canonical(study.dataset.model_dump()))
        self.problems_dir = self.results / "problems" / dataset
        self.problems = self.problems_dir / "problems.jsonl"
        grader = f"{study.grading.grader}-{digest(canonical(study.grading.model_dump()))}"
        self.grade_dir = self.results / "grade" / grader
        self.tables = self.results / "tables"
        self.report = root / "report" / f"{study.study}.md"
        self.figures = root / "report" / study.study

    @property
    def dataset_file(self) -> list[Path]:
        """The local file of the dataset, or nothing for one from the hub.

        Raises
        ------
        ConfigError
            If the file is not there.
        """
        path = Path(self._study.dataset.name)
        return [_existing(path, "dataset.name")] if path.suffix in LOCAL else []

    @property
    def training_file(self) -> list[Path]:
        """The file of the problems that a draft is trained on, or nothing.

        Raises
        ------
        ConfigError
            If the file is not there.
        """
        wanted = self._study.training
        return [_existing(Path(wanted.problems), "training.problems")] if wanted else []

    def shards(self) -> list[str]:
        """The shards to run, as parts of file names."""
        shards = self._study.shards
        return [f"shard-{index}-of-{shards.of}" for index in shards.indices]

    @property
    def probe(self) -> Path | None:
        """What the probe measured, or None where it is disabled."""
        cell = probe_of(self._study)
        return self.results / "probe" / f"{cell.name}.json" if cell else None

    def betas(self) -> dict[str, Path]:
        """The beta of each condition whose beta is matched."""
        return {
            name: self.results / "probe" / f"{cell.name}.json"
            for name, cell in betas_of(self._study).items()
        }

    def probed_records(self) -> list[Path]:
        """The answers that the probe reads, or nothing where it reads solutions."""
        name = self._study.probed_condition()
        if self._study.probe.over != "greedy" or name is None:
            return []
        return self.generated(cells_of(self._study)[name])

    @property
    def draft(self) -> Path | None:
        """The directory of the draft that the study trains, or None."""
        cell = training_of(self._study)
        return self.results / "draft" / cell.name.removeprefix("draft-") if cell else None

    def chains(self, cell: str, shard: str) -> Path:
        """The chain store of one job."""
        return self.results / "chains" / cell / f"{shard}.jsonl"

    def generated(self, cell: Cell) -> list[Path]:
        """The generation records of a cell, a file per shard."""
        return self._by_shard(self.results / "generate", cell)

    def graded(self, cell: Cell) -> list[Path]:
        """The grades of a cell, a file per shard."""
        return self._by_shard(self.grade_dir, cell)

    def grades(self) -> dict[str, list[Path]]:
        """The files of grades of every condition."""
        return {name: self.graded(cell) for name, cell in cells_of(self._study).items()}

    def _by_shard(self, stage: Path, cell: Cell) -> list[Path]:
        name = "{}x" + f"{self._study.samples}.jsonl"
        return [stage / cell.name / name.format(shard) for shard in self.shards()]


def _existing(path: Path, key: str) -> Path:
    if not path.is_file():
        raise ConfigError(f"{key}: there is no file {path}")
    return path


def _fetched(name: str) -> Path | None:
    if not name.startswith(EMBEDDED):
        return None
    if not re.fullmatch(r"[\w-][\w.-]*", name.removeprefix(EMBEDDED)):
        raise ConfigError(f"model.name: {name!r} names no embedded model")
    return models() / name.removeprefix(EMBEDDED)


def models() -> Path:
    """Where fetched models are."""
    return Path("results") / "models"
