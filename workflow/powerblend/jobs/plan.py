"""Say what a study will take, before anything of it runs.

Answers, tokens, passes, hours, memory and disk: from the configuration, from the steps that the
benchmarks measured (resources/step_times.yaml) and from earlier records under results/, which know
how long this model's answers are. Without any an answer is taken to be half as long as it may be.

  powerblend plan --configfile resources/studies/demo.yaml
"""

import argparse
import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import mean
from typing import NamedTuple

import yaml
from pydantic import JsonValue

from powerblend.blends import DraftBlend
from powerblend.report.run import cpu_name
from powerblend.samplers import Sampler
from powerblend.study.cells import Cell, loaded_for
from powerblend.study.costs import (
    KEPT_GB,
    KEPT_SHARE,
    SIBLING_START_SECONDS,
    SLOWER_WITH_DRAFT,
    StepTimes,
    decoding_seconds,
    disk_bytes,
    job_memory_gb,
    key_bytes,
    named_device,
    own_device,
    own_prompt_tokens,
    passes_per_token,
    prompt_seconds,
    read_step_times,
    row_bytes,
    start_seconds,
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


class Prompt(NamedTuple):
    """Tokens of the longest prompt: those that every row has, and those that all share once."""

    own: int
    shared: int


class Machine(NamedTuple):
    """What the jobs run on: its steps, the weights that each reads, and the rows of a batch."""

    device: StepTimes
    weights_gb: float
    rows: int
    prompt: Prompt
    row_gb: float | None
    """Memory of a row; None where the model is not here to say."""
    shared_gb: float = 0.0
    """Memory of what all rows begin with."""
    token_gb: float = 0.0
    """Memory of a token of a string that is kept."""

    @property
    def keys_gb(self) -> float | None:
        """Memory of all rows together; None where the model is not here to say."""
        return None if self.row_gb is None else self.rows * self.row_gb + self.shared_gb


class Condition(NamedTuple):
    """One cell's generation."""

    name: str
    answers: int
    expected: Expected
    passes: float
    """Of an answer."""
    seconds: float
    disk: float
    """Bytes of all answers."""
    share: float = 1.0
    """Of the decoded tokens, those that are computed."""

    @property
    def decoded(self) -> float:
        """Tokens of all answers."""
        return self.answers * mean(self.expected.decoded)


class Plan(NamedTuple):
    """A study's generation."""

    machine: Machine
    jobs: int
    conditions: Sequence[Condition]

    @property
    def memory_gb(self) -> float | None:
        """Of a job; None where the model is not here to say."""
        keys_gb = self.machine.keys_gb
        if keys_gb is None:
            return None
        return job_memory_gb(self.machine.weights_gb, keys_gb + self._kept_gb)

    @property
    def _kept_gb(self) -> float:
        """Of the strings that a job on the CPU keeps."""
        answers = max(one.answers for one in self.conditions)
        tokens = sum(one.share * one.decoded for one in self.conditions)
        tokens += answers * self.machine.prompt.own
        # A condition has as many jobs as there are groups of shards.
        return min(KEPT_GB, self.machine.token_gb * tokens * len(self.conditions) / self.jobs)


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
    study = parse_study(merged_configuration([PROJECT / "config.yaml", *options.configfile]))
    layout = Layout(study)
    devices = read_step_times(PROJECT / "resources" / "step_times.yaml")
    kind = "gpu" if study.resources.gpu else "cpu"
    device = (
        named_device(devices, options.device)
        if options.device
        else own_device(devices, kind, cpu_name())
    )
    print("\n".join(_lines(study, layout, device)))


def merged_configuration(files: Sequence[Path]) -> dict[str, JsonValue]:
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


def plan_of(study: Study, layout: Layout, device: StepTimes) -> Plan:
    """What a study's generation will take."""
    jobs = _problems_by_job(study)
    counts = [len(problems) for problems in jobs]
    answers = {name: expected(cell, layout.results.parent) for name, cell in layout.cells.items()}
    longest = max(one.prompt for one in answers.values())
    machine = _machine(study, layout, device, _prompt(longest, jobs, device.kind))
    # No batch has more rows than a job has strings.
    most = max(counts) * study.samples * max(cell_sampler(c).strings for c in layout.cells.values())
    machine = machine._replace(rows=min(machine.rows, most))
    reading = sum(prompt_seconds(texts, machine.device, machine.weights_gb) for texts in jobs)
    loaded: set[str] = set()
    conditions = []
    for name, cell in layout.cells.items():
        own = _overheads(cell, loaded, machine, len(jobs), reading)
        conditions.append(
            _condition(name, cell_sampler(cell), answers[name], study, machine, counts, own)
        )
    return Plan(machine, len(counts) * len(layout.cells) * len(study.answer_seeds), conditions)


def _lines(study: Study, layout: Layout, device: StepTimes) -> Iterator[str]:
    plan = plan_of(study, layout, device)
    problems = sum(map(len, _problems_by_job(study)))
    yield (
        f"study {study.study}: {problems} problems × {_answers(study)} answers × "
        f"{len(layout.cells)} conditions, in {plan.jobs} generate jobs"
    )
    yield f"device: {device.device}, steps as in resources/step_times.yaml"
    yield _memory(plan, study, layout)
    yield ""
    yield (
        f"{'condition':<20}{'answers':>9}{'tokens':>9}{'decoded':>9}{'passes':>9}{'hours':>8}"
        "  lengths from"
    )
    for one in plan.conditions:
        yield (
            f"{one.name:<20}{one.answers:>9,}{mean(one.expected.tokens):>9.1f}"
            f"{mean(one.expected.decoded):>9.1f}{one.passes:>9.1f}{one.seconds / 3600:>8.2f}"
            f"  {one.expected.source}"
        )
    yield ""
    yield from _totals(plan, study)


def _problems_by_job(study: Study) -> list[list[str]]:
    """What each generate job asks."""
    texts, shards = [one.problem for one in load_problems(study.dataset)], study.shards
    each = [texts[index :: shards.of] for index in shards.indices]
    grouped = [each[i : i + shards.per_job] for i in range(0, len(each), shards.per_job)]
    return [[text for shard in group for text in shard] for group in grouped]


class Overheads(NamedTuple):
    """What the jobs of a condition take beside decoding, and the share of that which is left."""

    seconds: float
    share: float


def _overheads(
    cell: Cell, loaded: set[str], machine: Machine, jobs: int, reading: float
) -> Overheads:
    """A condition's own; ``reading`` are the seconds of all prompts.

    On a CPU a job goes on with the conditions for which the same is ``loaded``.
    """
    start = jobs * start_seconds(machine.device, machine.weights_gb) + reading
    if machine.device.kind == "gpu":
        return Overheads(start, 1.0)
    assert isinstance(cell.spec, CellSpec)
    needed = loaded_for(cell.spec)
    if needed in loaded:
        return Overheads(jobs * SIBLING_START_SECONDS, KEPT_SHARE["later"])
    loaded.add(needed)
    return Overheads(start, KEPT_SHARE["first"])


def _condition(
    name: str,
    sampler: Sampler,
    one: Expected,
    study: Study,
    machine: Machine,
    counts: Sequence[int],
    own: Overheads,
) -> Condition:
    """A condition's generation."""
    slower = own.share * (SLOWER_WITH_DRAFT if isinstance(sampler.blend, DraftBlend) else 1.0)
    seconds = own.seconds
    for problems in counts:
        work = [one.decoded[i % len(one.decoded)] for i in range(problems * study.samples)]
        steps = decoding_seconds(work, machine.rows, machine.device, machine.weights_gb)
        seconds += slower * steps
    answers = sum(counts) * _answers(study)
    blocks = sampler.schedule().blocks
    return Condition(
        name,
        answers,
        one,
        mean(one.decoded) * _passes(sampler, one, study, machine),
        len(study.answer_seeds) * seconds,
        answers * disk_bytes(blocks, mean(one.tokens)),
        own.share,
    )


def _passes(sampler: Sampler, one: Expected, study: Study, machine: Machine) -> float:
    """Passes of a decoded token; several strings of an answer share theirs.

    A GPU guesses nothing in as many rows as its memory holds; of few rows none has been measured.
    """
    if machine.device.kind == "gpu" or study.resources.speculate == "off":
        return 1 / sampler.strings
    known = passes_per_token(machine.rows, bool(sampler.schedule().steps))
    return one.passes or known / sampler.strings


def _answers(study: Study) -> int:
    """Answers of a condition to a problem."""
    return len(study.answer_seeds) * study.samples


def cell_sampler(cell: Cell) -> Sampler:
    """How a cell decodes."""
    assert isinstance(cell.spec, CellSpec)
    return cell.spec.decoding


def _prompt(longest: int, jobs: Sequence[Sequence[str]], kind: str) -> Prompt:
    """Of the longest prompt's tokens, 0 where no record says, those that rows of a kind share.

    On a GPU every row is taken to have a copy, as it has of a short beginning (`reads_apart` of
    `engine.attention`): what is long is there once, and a job then takes less than is planned.
    """
    own = math.ceil(max(own_prompt_tokens(text) for texts in jobs for text in texts))
    return Prompt(longest or own, 0) if kind == "gpu" else Prompt(own, max(0, longest - own))


def _machine(study: Study, layout: Layout, device: StepTimes, prompt: Prompt) -> Machine:
    """What the jobs run on."""
    rows = study.resources.rows
    most = MOST_ROWS[device.kind] if rows == "auto" else rows
    path = _model_config(study, layout)
    if not path.is_file():
        return Machine(device, device.weights_gb, most, prompt, None)
    config, width = json.loads(path.read_text()), DTYPE_BYTES[study.model.dtype]
    config |= config.get("text_config") or {}
    longest = _longest(layout)
    each = row_bytes(config, prompt.own + longest + longest // 2, width)
    once = key_bytes(config, prompt.shared, width)
    kept = key_bytes(config, 1, width) if device.kind == "cpu" else 0.0
    sizes = each / 1e9, once / 1e9, kept / 1e9
    return Machine(device, weights_gb(config, width), most, prompt, *sizes)


def _model_config(study: Study, layout: Layout) -> Path:
    return (layout.model or Path(study.model.name)) / "config.json"


def _longest(layout: Layout) -> int:
    """Tokens of the longest answer."""
    return max(cell_sampler(cell).max_new_tokens for cell in layout.cells.values())


def _memory(plan: Plan, study: Study, layout: Layout) -> str:
    machine = plan.machine
    if machine.row_gb is None or machine.keys_gb is None:
        return (
            f"{_model_config(study, layout)} is not here: weights are taken to be "
            f"{machine.weights_gb:g} GB, as those of the benchmark, and memory is not computed; "
            "fetch the model for a better plan"
        )
    shared = f", beyond {machine.prompt.shared} that all share" if machine.prompt.shared else ""
    return (
        f"memory: {machine.weights_gb:.2f} GB of weights, {1000 * machine.row_gb:.1f} MB a row of "
        f"{machine.prompt.own} tokens of prompt{shared}, and {_longest(layout)} of answer; "
        f"{machine.rows} rows take {machine.keys_gb:.2f} GB, and a job at most "
        f"{plan.memory_gb:.1f} GB"
    )


def _totals(plan: Plan, study: Study) -> Iterator[str]:
    conditions = plan.conditions
    decoded = sum(one.decoded for one in conditions)
    passes = sum(one.answers * one.passes for one in conditions)
    seconds = sum(one.seconds for one in conditions)
    unit = "GPU-hours" if plan.machine.device.kind == "gpu" else "CPU-hours"
    yield (
        f"generation: {sum(one.answers for one in conditions):,} answers, {decoded:,.0f} decoded "
        f"tokens, {passes:,.0f} passes, {seconds / 3600:.2f} {unit} ({seconds / 60:.0f} minutes on "
        "one device)"
    )
    disk = sum(one.disk for one in conditions)
    yield f"disk: {disk / 1e6:.1f} MB of records, chain stores and grades"
    if study.training is not None:
        yield "not in it: the training of the draft, the probe, grading and the report"
    else:
        yield "not in it: the probe, grading and the report"
