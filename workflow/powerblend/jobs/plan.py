"""Say what a study will take, before anything of it runs.

Answers, tokens, steps, hours, memory and disk: from the configuration, from the steps that the
benchmarks measured (resources/step_times.yaml) and from earlier records under results/, which know
how long this model's answers are. Without any an answer is taken to be half as long as it may be.

  powerblend plan --configfile resources/studies/demo.yaml
"""

import argparse
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import mean
from typing import NamedTuple

import yaml
from pydantic import JsonValue

from powerblend.blends import DraftBlend
from powerblend.report.run import cpu_name
from powerblend.study.cells import Cell
from powerblend.study.costs import (
    SLOWER_WITH_DRAFT,
    StepTimes,
    disk_bytes,
    named_device,
    own_device,
    read_step_times,
    row_bytes,
    run_job,
    weights_gb,
)
from powerblend.study.expected import Expected, expected
from powerblend.study.layout import Layout
from powerblend.study.problems import load_problems
from powerblend.study.schema import Study, parse_study
from powerblend.vocabulary.errors import ConfigError
from powerblend.vocabulary.specs import CellSpec

PROJECT = Path(__file__).resolve().parents[3]
DTYPE_BYTES = {"float64": 8, "float32": 4, "bfloat16": 2, "float16": 2}
MOST_ROWS = {"cpu": 64, "gpu": 256}
"""What `rows: auto` takes where memory allows it."""


class Machine(NamedTuple):
    """What the jobs run on: its steps, the weights that each reads, and the rows of a batch."""

    device: StepTimes
    weights_gb: float
    rows: int


class Condition(NamedTuple):
    """One cell's generation."""

    name: str
    answers: int
    expected: Expected
    steps: int
    hours: float


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Name the study's files, and the device if it is another than this machine."""
    parser.add_argument(
        "--configfile", type=Path, nargs="+", required=True, metavar="PATH",
        help="the study's files, as snakemake takes them; each extends those before it",
    )  # fmt: skip
    parser.add_argument(
        "--device", help="part of a name in resources/step_times.yaml (default: this machine's)"
    )


def run(options: argparse.Namespace) -> None:
    """Print the plan.

    Raises
    ------
    ConfigError
        If the configuration cannot be run, or nothing is known of the device.
    """
    study = parse_study(_merged([PROJECT / "config.yaml", *options.configfile]))
    layout = Layout(study)
    devices = read_step_times(PROJECT / "resources" / "step_times.yaml")
    kind = "gpu" if study.resources.gpu else "cpu"
    device = (
        named_device(devices, options.device)
        if options.device
        else own_device(devices, kind, cpu_name())
    )
    print("\n".join(_lines(study, layout, device)))


def _merged(files: Sequence[Path]) -> dict[str, JsonValue]:
    """The configuration of all files, as Snakemake merges them."""
    from snakemake.utils import update_config

    merged: dict[str, JsonValue] = {}
    for path in files:
        try:
            update_config(merged, yaml.safe_load(path.read_text()))
        except OSError as error:
            raise ConfigError(f"--configfile {path}: {error.strerror}") from None
        except yaml.YAMLError as error:
            raise ConfigError(f"--configfile {path}: is no YAML: {error}") from None
    return merged


def _lines(study: Study, layout: Layout, device: StepTimes) -> Iterator[str]:
    counts = _problems_by_job(study)
    answers = {name: expected(cell, layout.results.parent) for name, cell in layout.cells.items()}
    machine, words = _machine(study, layout, device, [*answers.values()])
    jobs = len(counts) * len(layout.cells) * len(study.answer_seeds)
    yield (
        f"study {study.study}: {sum(counts)} problems × {_answers(study)} answers × "
        f"{len(layout.cells)} conditions, in {jobs} generate jobs"
    )
    yield f"device: {device.device}, steps as in resources/step_times.yaml"
    yield from words
    yield ""
    yield (
        f"{'condition':<20}{'answers':>9}{'tokens':>9}{'decoded':>9}{'steps':>9}{'hours':>8}"
        "  lengths from"
    )
    planned = [
        _condition(name, layout.cells[name], answers[name], study, machine, counts)
        for name in layout.cells
    ]
    for one in planned:
        yield (
            f"{one.name:<20}{one.answers:>9,}{mean(one.expected.tokens):>9.1f}"
            f"{mean(one.expected.decoded):>9.1f}{one.steps:>9,}{one.hours:>8.2f}"
            f"  {one.expected.source}"
        )
    yield ""
    yield from _totals(planned, study, device)


def _problems_by_job(study: Study) -> list[int]:
    """The problems of each generate job."""
    whole, shards = len(load_problems(study.dataset)), study.shards
    sizes = [len(range(index, whole, shards.of)) for index in shards.indices]
    grouped = [sizes[i : i + shards.per_job] for i in range(0, len(sizes), shards.per_job)]
    return [sum(group) for group in grouped]


def _condition(
    name: str, cell: Cell, one: Expected, study: Study, machine: Machine, counts: Sequence[int]
) -> Condition:
    assert isinstance(cell.spec, CellSpec)
    blend = cell.spec.decoding.blend
    slower = SLOWER_WITH_DRAFT if isinstance(blend, DraftBlend) else 1.0
    jobs = []
    for problems in counts:
        work = [one.decoded[i % len(one.decoded)] for i in range(problems * study.samples)]
        jobs.append(run_job(work, machine.rows, machine.device, machine.weights_gb, slower))
    seeds = len(study.answer_seeds)
    seconds = seeds * sum(job.seconds for job in jobs)
    steps = seeds * sum(job.steps for job in jobs)
    return Condition(name, sum(counts) * _answers(study), one, steps, seconds / 3600)


def _answers(study: Study) -> int:
    """Answers of a condition to a problem."""
    return len(study.answer_seeds) * study.samples


def _machine(
    study: Study, layout: Layout, device: StepTimes, answers: Sequence[Expected]
) -> tuple[Machine, list[str]]:
    """What the jobs run on, and what is to be said of its memory."""
    rows = study.resources.rows
    most = MOST_ROWS[device.kind] if rows == "auto" else rows
    path = (layout.model or Path(study.model.name)) / "config.json"
    if not path.is_file():
        sentence = (
            f"{path} is not here: weights are taken to be {device.weights_gb:g} GB, as those of "
            "the benchmark, and memory is not computed; fetch the model for a better plan"
        )
        return Machine(device, device.weights_gb, most), [sentence]
    config, width = json.loads(path.read_text()), DTYPE_BYTES[study.model.dtype]
    config |= config.get("text_config") or {}
    specs = [cell.spec for cell in layout.cells.values()]
    longest = max(spec.decoding.max_new_tokens for spec in specs if isinstance(spec, CellSpec))
    prompt = max(one.prompt for one in answers)
    each = row_bytes(config, prompt + longest + longest // 2, width)
    weights = weights_gb(config, width)
    sentence = (
        f"memory: {weights:.2f} GB of weights, {each / 1e6:.1f} MB a row of {prompt or 'no'} "
        f"tokens of prompt and {longest} of answer; {most} rows take {most * each / 1e9:.2f} GB"
    )
    return Machine(device, weights, most), [sentence]


def _totals(planned: Sequence[Condition], study: Study, device: StepTimes) -> Iterator[str]:
    answers = sum(one.answers for one in planned)
    decoded = sum(one.answers * mean(one.expected.decoded) for one in planned)
    steps, hours = sum(one.steps for one in planned), sum(one.hours for one in planned)
    tokens = sum(one.answers * mean(one.expected.tokens) for one in planned) / answers
    unit = "GPU-hours" if device.kind == "gpu" else "CPU-hours"
    yield (
        f"generation: {answers:,} answers, {decoded:,.0f} decoded tokens, {steps:,} steps, "
        f"{hours:.2f} {unit} ({60 * hours:.0f} minutes on one device)"
    )
    yield f"disk: {disk_bytes(answers, tokens) / 1e6:.1f} MB of records, chain stores and grades"
    if study.training is not None:
        yield "not in it: the training of the draft, the probe, grading and the report"
    else:
        yield "not in it: the probe, grading and the report"
