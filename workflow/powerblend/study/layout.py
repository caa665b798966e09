"""Where everything is: the one place that knows the paths under ``results`` and ``report``.

results/models/NAME/                            a model that the workflow fetched
results/STUDY/config-DIGEST.json                a merged configuration that ran
results/STUDY/specs/JOB.json                    what a job is to do
results/STUDY/checked.json                      what was checked before anything was generated
results/STUDY/problems/DATASET/                 problems.jsonl and its shards
results/STUDY/draft/DIGEST/                     a trained draft, and training.json
results/STUDY/probe/                            probe-DIGEST.json; beta-DIGEST.json, a matched beta
results/STUDY/chains/CELL/SHARD.jsonl           chain store: finished chains, as they finish
results/STUDY/chains/CELL/SHARD.keys.json       the keys of all its chains, once they are there
results/STUDY/generate/CELL/SHARDxSAMPLES.jsonl generation records, complete and sorted
results/STUDY/grade/GRADER-DIGEST/CELL/         their grades, in files of the same names
results/STUDY/tables/                           overall.csv and summary.json
report/STUDY.md, report/STUDY/                  the report and its figures
report/STUDY_answers.html                       every answer, to look at
"""

import re
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path

from pydantic import BaseModel, JsonValue
from pydantic.main import IncEx

from powerblend.infrastructure.files import found
from powerblend.study.cells import (
    Cell,
    betas_of,
    probe_of,
    read_named,
    seeded_cells_of,
    training_of,
)
from powerblend.study.code import code_digest
from powerblend.study.schema import Study
from powerblend.vocabulary.errors import ConfigError
from powerblend.vocabulary.specs import (
    LOCAL_SUFFIXES,
    DatasetSpec,
    MeasurementSpec,
    canonical,
    digest,
)

EMBEDDED = "embedded/"
"""Prefix of the names of models that the workflow fetches itself."""

HOW_IT_IS_RUN: Mapping[str, IncEx | bool] = {"resources": True, "shards": {"per_job"}}
"""Keys of a study that decide nothing of what comes out."""


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
        decides = study.model_dump(mode="json", exclude=HOW_IT_IS_RUN)
        self.config = self.results / f"config-{digest(canonical(decides))}.json"
        fetched = _fetched(study.model.name)
        self.model = fetched and root / fetched
        to_check = digest(canonical([self._check, *self._read_for_check()]))
        self.check_spec = self.spec(f"check-{to_check}")
        # One name: inputs are compared by name, and what was checked decides no answer.
        self.checked = self.results / "checked.json"
        self.problems_dir = self._problems(study.dataset)
        self.problems = self.problems_dir / "problems.jsonl"
        grader = f"{study.grading.grader}-{digest(canonical(self._graded_by()))}"
        self.grading_spec = self.spec(f"grading-{grader}")
        self.grade_dir = self.results / "grade" / grader
        self.tables = self.results / "tables"
        self.report = root / "report" / f"{study.study}.md"
        self.answers = root / "report" / f"{study.study}_answers.html"
        self.figures = root / "report" / study.study

    @cached_property
    def dataset_file(self) -> list[Path]:
        """The local file of the dataset, or nothing for one from the hub.

        Raises
        ------
        ConfigError
            If the file is not there.
        """
        return _local_file(self._study.dataset.name, "dataset.name")

    @cached_property
    def training_file(self) -> list[Path]:
        """The file of the problems that a draft is trained on, or nothing.

        Raises
        ------
        ConfigError
            If the file is not there.
        """
        wanted = self._training_dataset
        return _local_file(wanted.name, "training.problems") if wanted else []

    @cached_property
    def training_problems(self) -> Path | None:
        """The problems that a draft is trained on, as they were read, or None."""
        wanted = self._training_dataset
        return self._problems(wanted) / "problems.jsonl" if wanted else None

    @cached_property
    def _training_dataset(self) -> DatasetSpec | None:
        wanted = self._study.training
        return DatasetSpec(name=wanted.problems) if wanted and self._training else None

    def shards(self) -> list[str]:
        """The shards to run, as parts of file names."""
        shards = self._study.shards
        return [f"shard-{index}-of-{shards.of}" for index in shards.indices]

    def shards_by_job(self) -> list[list[str]]:
        """The shards to run, as a generate job does them: `per_job` at a time."""
        shards, each = self.shards(), self._study.shards.per_job
        return [shards[first : first + each] for first in range(0, len(shards), each)]

    @cached_property
    def cells(self) -> dict[str, Cell]:
        """The cell of each condition with its first seed."""
        return {name: first for name, (first, *_) in self.seeded_cells.items()}

    @cached_property
    def seeded_cells(self) -> dict[str, list[Cell]]:
        """The cells of each condition, one for each seed."""
        return seeded_cells_of(self._study)

    @cached_property
    def jobs(self) -> dict[str, Cell]:
        """Every job of the model by its name: cells, probe, betas and training."""
        others = [self._probe, self._training, *self._betas.values()]
        seeded = (cell for cells in self.seeded_cells.values() for cell in cells)
        every = [*seeded, *(job for job in others if job)]
        return {job.name: job for job in every}

    @cached_property
    def job_specs(self) -> dict[Path, str]:
        """The files that say what jobs of the model are to do, with their content."""
        return {self.spec(name): job.spec.canonical for name, job in self.jobs.items()}

    @cached_property
    def reading_specs(self) -> dict[Path, str]:
        """The files that say what is read, checked and graded, with their content."""
        texts = {}
        for dataset in filter(None, (self._study.dataset, self._training_dataset)):
            texts[self.dataset_spec(self._problems(dataset).name)] = _canonical_of(dataset)
        texts[self.grading_spec] = _canonical_of(self._study.grading)
        texts[self.check_spec] = canonical(self._check)
        return texts

    @cached_property
    def _check(self) -> dict[str, JsonValue]:
        """The study without what its check has no use for."""
        study = self._study.model_copy(
            update=dict(title="", seed=0, seeds=None, samples=1, contrasts=[])
        )
        written = {"equivalence_margin": True, "long_run": True}
        return study.model_dump(mode="json", exclude={**HOW_IT_IS_RUN, **written})

    def _read_for_check(self) -> list[JsonValue]:
        """What files hold that the study names for its prompts and its model."""
        named = read_named(self._study)
        return [named.model.content, named.prompt.model_dump(mode="json")]

    def _graded_by(self) -> list[JsonValue]:
        """The grading and its code: a mended grader makes grades anew, and nothing before them."""
        grading = self._study.grading
        return [grading.model_dump(mode="json"), code_digest("grade", grading.grader)]

    def dataset_spec(self, name: str) -> Path:
        """How a dataset is to be read; by its digest."""
        return self.spec(f"dataset-{name}")

    def _problems(self, dataset: DatasetSpec) -> Path:
        return self.results / "problems" / digest(_canonical_of(dataset))

    def spec(self, job: str) -> Path:
        """What a job is to do, as JSON."""
        return self.results / "specs" / f"{job}.json"

    @cached_property
    def probe(self) -> Path | None:
        """What the probe measured, or None where it is disabled."""
        return self._found(self._probe) if self._probe else None

    @cached_property
    def betas(self) -> dict[str, Path]:
        """The beta of each condition whose beta is matched."""
        return {name: self._found(job) for name, job in self._betas.items()}

    @cached_property
    def probed_records(self) -> list[Path]:
        """The answers that betas are found on, or nothing where solutions are."""
        return self.own_records if self._study.probe.over == "greedy" else []

    @cached_property
    def own_records(self) -> list[Path]:
        """The model's own answers, which the probe reads; nothing if no condition gives them."""
        name = self._study.probed_condition()
        return [] if name is None else self.generated(self.cells[name])

    @cached_property
    def own_betas(self) -> list[Path]:
        """The betas of the blends that the probe measures on the model's own answers too."""
        spec = self._probe.spec if self._probe else None
        matched = (spec.matched or []) if isinstance(spec, MeasurementSpec) else []
        return [self.results / "probe" / f"{name}.json" for name in matched]

    @cached_property
    def draft(self) -> Path | None:
        """The directory of the draft that the study trains, or None."""
        job = self._training
        return self.results / "draft" / job.name.removeprefix("draft-") if job else None

    @cached_property
    def _probe(self) -> Cell | None:
        return probe_of(self._study)

    @cached_property
    def _betas(self) -> dict[str, Cell]:
        return betas_of(self._study)

    @cached_property
    def _training(self) -> Cell | None:
        return training_of(self._study)

    def _found(self, job: Cell) -> Path:
        return self.results / "probe" / f"{job.name}.json"

    def chains(self, cell: str, shard: str) -> Path:
        """The chain store of one job."""
        return self.results / "chains" / cell / f"{shard}.jsonl"

    def generated(self, cell: Cell) -> list[Path]:
        """The generation records of a cell, a file per shard."""
        return self._by_shard(self.results / "generate", cell)

    def graded(self, cell: Cell) -> list[Path]:
        """The grades of a cell, a file per shard."""
        return self._by_shard(self.grade_dir, cell)

    def answers_of(self, name: str) -> list[Path]:
        """The generation records of a condition, seed by seed, a file per shard."""
        return [path for cell in self.seeded_cells[name] for path in self.generated(cell)]

    def grades_of(self, name: str) -> list[Path]:
        """The grades of a condition, in the order of its answers."""
        return [path for cell in self.seeded_cells[name] for path in self.graded(cell)]

    def grades(self) -> dict[str, list[Path]]:
        """The files of grades of every condition."""
        return {name: self.grades_of(name) for name in self.cells}

    def _by_shard(self, stage: Path, cell: Cell) -> list[Path]:
        name = "{}x" + f"{self._study.samples}.jsonl"
        return [stage / cell.name / name.format(shard) for shard in self.shards()]


def _canonical_of(section: BaseModel) -> str:
    return canonical(section.model_dump(mode="json"))


def _local_file(name: str, key: str) -> list[Path]:
    """The file of a dataset, or nothing for one from the hub."""
    path = found(name)
    if path.suffix not in LOCAL_SUFFIXES:
        return []
    if not path.is_file():
        raise ConfigError(f"{key}: there is no file {path}")
    return [path]


def _fetched(name: str) -> Path | None:
    if not name.startswith(EMBEDDED):
        return None
    if not re.fullmatch(r"[\w-][\w.-]*", name.removeprefix(EMBEDDED)):
        raise ConfigError(f"model.name: {name!r} names no embedded model")
    return models() / name.removeprefix(EMBEDDED)


def chains_beside(store: Path, cell: str) -> Path:
    """Another cell's chain store for the shard of this one."""
    return store.parents[1] / cell / store.name


def models() -> Path:
    """Where fetched models are."""
    return Path("results") / "models"
