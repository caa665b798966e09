"""The generate job: one cell over one shard, through the engine, with nothing done twice."""

import hashlib
import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tqdm import tqdm

from powerblend.api.generation import Generation, Request, Run
from powerblend.draft.guided import draft_of
from powerblend.engine import REVISION
from powerblend.engine.model import Model
from powerblend.infrastructure.files import write_jsonl
from powerblend.infrastructure.interrupts import held_back
from powerblend.samplers import Sampler, parse_sampler
from powerblend.study.cells import canonical
from powerblend.study.problems import Problem
from powerblend.study.prompts import chat, tokenise
from powerblend.study.store import ChainStore

log = logging.getLogger(__name__)


class Task(NamedTuple):
    """One answer to generate, with the key of its record."""

    key: str
    problem: Problem
    sample: int
    prompt: list[int]


def generate(
    spec: Mapping[str, Any],
    model: Model,
    problems: Sequence[Problem],
    *,
    labels: Mapping[str, str],
    samples: int,
    rows: int | None,
    store: ChainStore,
    output: Path,
) -> None:
    """Write the sorted, complete records of `answer` to ``output``."""
    write_jsonl(
        output,
        answer(spec, model, problems, labels=labels, samples=samples, rows=rows, store=store),
    )


def answer(
    spec: Mapping[str, Any],
    model: Model,
    problems: Sequence[Problem],
    *,
    labels: Mapping[str, str],
    samples: int,
    rows: int | None,
    store: ChainStore,
) -> Iterator[dict[str, Any]]:
    """Generate what the store lacks, then yield all records, in the order of the problems.

    Parameters
    ----------
    spec
        A cell's spec.
    labels
        Fields that say where a record belongs (study, condition) and decide nothing.

    Raises
    ------
    ValueError
        If the cell is one of another revision of the engine.
    OSError
        If the disk is full; run again, it continues.
    """
    if spec["engine"] != REVISION:
        raise ValueError(
            f"the cell is of engine revision {spec['engine']}, but this is revision {REVISION}, "
            "which may give other answers: start the workflow again"
        )
    sampler = parse_sampler(spec["decoding"])
    tasks = list(tasks_of(spec, model, problems, samples))
    missing = [task for task in tasks if task.key not in store]
    log.info("%d of %d chains are in the store", len(tasks) - len(missing), len(tasks))
    for finished in _run(model, sampler, missing, spec["seed"], rows):
        with held_back():
            for task, generation in finished:
                store.add(_record(task, generation, sampler, spec["seed"], labels))
    for task in tasks:
        yield {**(store.get(task.key) or {}), **labels}


def with_beta(spec: Mapping[str, Any], beta: float) -> dict[str, Any]:
    """A spec whose blend matches a KL, with the beta that the probe found for it.

    Its records are then those of a condition with this very beta.
    """
    decoding = spec["decoding"]
    return {**spec, "decoding": {**decoding, "blend": {**decoding["blend"], "beta": beta}}}


def tasks_of(
    spec: Mapping[str, Any], model: Model, problems: Sequence[Problem], samples: int
) -> Iterator[Task]:
    """Every answer of the shard, by problem and sample."""
    prompt = spec["prompt"]
    # The key has the prompt itself, so a dataset's other problems do not matter to it; and a
    # trained draft's weights, which the same training may not give again to the last digit.
    decided = {k: v for k, v in spec.items() if k not in ("dataset", "prompt")}
    draft = draft_of(model)
    if draft is not None:
        decided["draft"] = draft.fingerprint
    decisive = canonical(decided)
    for problem in problems:
        tokens = tokenise(model.tokenizer, chat(problem.problem, prompt), prompt["chat_template"])
        for sample in range(samples):
            identity = canonical([decisive, problem.unique_id, sample, problem.problem, tokens])
            yield Task(hashlib.sha256(identity.encode()).hexdigest(), problem, sample, tokens)


def _run(
    model: Model, sampler: Sampler, tasks: Sequence[Task], seed: int, rows: int | None
) -> Iterator[list[tuple[Task, Generation]]]:
    """Run the tasks, yielding those that a step finished.

    The progress bar counts moves, or answers where there are none.
    """
    if not tasks:
        return
    by_name = {(task.problem.unique_id, task.sample): task for task in tasks}
    requests = [Request(task.prompt, *name) for name, task in by_name.items()]
    run = Run(model, requests, sampler, seed, rows)
    schedule = sampler.schedule()
    per_chain = max(1, schedule.blocks * schedule.steps)
    with tqdm(total=len(tasks) * per_chain, unit="move", mininterval=2.0) as bar:
        for finished in run.steps():
            if finished:
                yield [(by_name[r.problem_id, r.sample], answer) for r, answer in finished]
            bar.set_postfix_str(_progress(run, len(tasks), bar), refresh=False)
            # A chain may be done before its last move (mh: published).
            bar.update(max(run.tally.moves, run.tally.chains * per_chain) - bar.n)
    log.info("%s", _progress(run, len(tasks), bar))


def _progress(run: Run, chains: int, bar: "tqdm[Any]") -> str:
    tally = run.tally
    speed = tally.decoded_tokens / max(bar.format_dict["elapsed"], 1e-9)
    parts = [
        f"{tally.chains}/{chains} chains",
        f"{tally.accepted / tally.moves:.0%} of {tally.moves} moves accepted"
        if tally.moves
        else "",
        f"{speed:.0f} tokens/s",
        f"{tally.occupancy:.0%} of {min(run.rows, chains)} rows busy",
    ]
    return ", ".join(filter(None, parts))


def _record(
    task: Task, generation: Generation, sampler: Sampler, seed: int, labels: Mapping[str, str]
) -> dict[str, Any]:
    record = generation.as_record()
    weight = {"beta": sampler.blend.beta} if sampler.blend else {}
    return {
        **labels,
        "problem_id": task.problem.unique_id,
        "sample": task.sample,
        "seed": seed,
        **weight,
        "completion": record.pop("text"),
        **record,
        "key": task.key,
    }
