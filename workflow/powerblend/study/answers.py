"""The answers of a cell to some problems: through the engine, with nothing done twice."""

import hashlib
import logging
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from powerblend.api.generation import Generation, Request, Run
from powerblend.draft.guided import draft_of
from powerblend.engine import REVISION
from powerblend.engine.model import Model
from powerblend.engine.scheduler import Speculation
from powerblend.infrastructure.interrupts import held_back
from powerblend.infrastructure.progress import Progress
from powerblend.study.prompts import tokenise
from powerblend.study.store import ChainStore, StoreByShard, records_of
from powerblend.vocabulary.problem import Problem
from powerblend.vocabulary.records import AnswerRecord
from powerblend.vocabulary.specs import CellSpec, canonical

log = logging.getLogger(__name__)


class Task(NamedTuple):
    """One answer to generate, with the key of its record."""

    key: str
    problem: Problem
    sample: int
    prompt: list[int]


def answer(
    spec: CellSpec,
    model: Model,
    problems: Sequence[Problem],
    *,
    labels: dict[str, str],
    samples: int,
    rows: int | None,
    store: ChainStore | StoreByShard,
    speculate: Speculation = "auto",
) -> Iterator[AnswerRecord]:
    """Generate what the store lacks, then yield all records, in the order of the problems.

    Takes and raises what `complete` does.
    """
    keys = complete(
        spec,
        model,
        problems,
        labels=labels,
        samples=samples,
        rows=rows,
        store=store,
        speculate=speculate,
    )
    yield from records_of(store, keys, labels)


def complete(
    spec: CellSpec,
    model: Model,
    problems: Sequence[Problem],
    *,
    labels: dict[str, str],
    samples: int,
    rows: int | None,
    store: ChainStore | StoreByShard,
    speculate: Speculation = "auto",
    name: str = "",
) -> list[str]:
    """Generate what the store lacks; the keys of all records, by problem and sample.

    Parameters
    ----------
    spec
        A cell's spec, whose beta is known.
    labels
        Fields that say where a record belongs (study, condition) and decide nothing.
    samples
        Answers per problem.
    rows
        Chains at once; None: as many as the free memory holds.
    speculate
        ``auto``: next tokens are guessed where that is likely to save time; ``off``: never.
    name
        What the log says of whose answers these are, where they are not the job's own.

    Raises
    ------
    ValueError
        If the cell is one of another revision of the engine.
    OSError
        If the disk is full; run again, it continues.
    """
    if spec.engine != REVISION:
        raise ValueError(
            f"the cell is of engine revision {spec.engine}, but this is revision {REVISION}, "
            "which may give other answers: start the workflow again"
        )
    tasks = list(tasks_of(spec, model, problems, samples))
    missing = [task for task in tasks if task.key not in store]
    told = f"{name}: " if name else ""
    log.info("%s%d of %d chains are in the store", told, len(tasks) - len(missing), len(tasks))
    for finished in _run(spec, model, missing, rows, speculate, told):
        with held_back():
            for task, generation in finished:
                store.add(_record(task, generation, spec, labels).model_dump())
    return [task.key for task in tasks]


def tasks_of(
    spec: CellSpec, model: Model, problems: Sequence[Problem], samples: int
) -> Iterator[Task]:
    """Every answer to the problems, by problem and sample."""
    # The key has the prompt itself, so a dataset's other problems do not matter to it; and a
    # trained draft's weights, which the same training may not give again to the last digit.
    decided = spec.model_dump(mode="json", exclude={"dataset", "prompt"})
    draft = draft_of(model)
    if draft is not None:
        decided["draft"] = draft.fingerprint
    decisive = canonical(decided)
    for problem in problems:
        tokens = tokenise(model.tokenizer, problem.problem, spec.prompt)
        for sample in range(samples):
            decides = [decisive, problem.unique_id, sample, problem.problem, [*tokens]]
            identity = canonical(decides)
            yield Task(hashlib.sha256(identity.encode()).hexdigest(), problem, sample, tokens)


def _run(
    spec: CellSpec,
    model: Model,
    tasks: Sequence[Task],
    rows: int | None,
    speculate: Speculation,
    told: str,
) -> Iterator[list[tuple[Task, Generation]]]:
    """Run the tasks, yielding those that a step finished.

    The progress counts moves, or answers where there are none.
    """
    if not tasks:
        return
    by_name = {(task.problem.unique_id, task.sample): task for task in tasks}
    requests = [Request(task.prompt, *name) for name, task in by_name.items()]
    run = Run(model, requests, spec.decoding, spec.seed, rows, speculate)
    schedule = spec.decoding.schedule()
    per_chain = max(1, schedule.blocks * schedule.steps)
    progress = Progress(len(tasks) * per_chain, "moves" if schedule.steps else "answers", told)
    for finished in run.steps():
        if finished:
            yield [(by_name[r.problem_id, r.sample], answer) for r, answer in finished]
        # A chain may be done before its last move (mh: published).
        done = max(run.tally.moves, run.tally.chains * per_chain)
        progress.at(done, _tally(run, len(tasks), progress.seconds))
    log.info("%s%s", told, _tally(run, len(tasks), progress.seconds))


def _tally(run: Run, chains: int, seconds: float) -> str:
    tally = run.tally
    speed = tally.decoded_tokens / max(seconds, 1e-9)
    acceptance = tally.accepted / max(tally.moves, 1)
    parts = [
        f"{tally.chains}/{chains} chains",
        f"{acceptance:.0%} of {tally.moves} moves accepted" if tally.moves else "",
        f"{speed:.0f} tokens/s",
        f"{tally.guessed_right / tally.guessed:.0%} of guesses right" if tally.guessed else "",
        f"{tally.occupancy:.0%} of {min(run.rows, chains)} rows busy",
    ]
    return ", ".join(filter(None, parts))


def _record(
    task: Task, generation: Generation, spec: CellSpec, labels: dict[str, str]
) -> AnswerRecord:
    counts = generation.as_record()
    blend = spec.decoding.blend
    identity = {
        **labels,
        "problem_id": task.problem.unique_id,
        "sample": task.sample,
        "seed": spec.seed,
        "completion": counts.pop("text"),
        "key": task.key,
    }
    weight = {"beta": blend.beta} if blend else {}
    return AnswerRecord.model_validate(identity | weight | counts)
