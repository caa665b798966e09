"""Train a draft on what the model itself writes.

For a model that has no published DFlash draft. The model answers the training problems at T = 1;
the draft learns to say blocks of these answers from the model's own hidden states. Run the same
command again after an interruption: it continues.
"""

import argparse
import logging
from collections.abc import Sequence
from pathlib import Path

import torch

from powerblend.draft import training
from powerblend.draft.dflash import Architecture, Draft
from powerblend.draft.training import WrittenAnswer
from powerblend.engine.model import Model
from powerblend.engine.scheduler import Speculation
from powerblend.infrastructure.files import write_json
from powerblend.infrastructure.progress import followed
from powerblend.jobs import arguments
from powerblend.jobs.device import on_device
from powerblend.jobs.models import load, remember
from powerblend.samplers import Greedy, Sampler, Temperature
from powerblend.study.answers import answer, tasks_of
from powerblend.study.problems import read_problems
from powerblend.study.store import ChainStore
from powerblend.vocabulary.measurements import DraftQuality, TrainingReport
from powerblend.vocabulary.problem import Problem
from powerblend.vocabulary.specs import CellSpec, DraftSpec

log = logging.getLogger(__name__)

HELD_OUT = 10
"""One problem in so many is kept to measure the draft on."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Name the training and its directories."""
    arguments.add_spec(parser, "the training")
    arguments.add_paths(
        parser,
        problems="what to train on, as JSON lines",
        store="directory of what an interrupted run continues from",
        output="directory to write: config.json, model.safetensors, training.json",
    )
    arguments.add_device(parser)
    arguments.add_rows(parser)


def run(options: argparse.Namespace) -> None:
    """Write a trained draft."""
    spec = arguments.read_spec(options.spec, DraftSpec)
    with on_device(options):
        model = load(spec.model, [], path=options.model, draft=None, device=options.device)
        train_draft(
            spec,
            model,
            read_problems(options.problems),
            rows=options.rows,
            speculate=options.speculate,
            store=options.store,
            output=options.output,
        )


def train_draft(
    spec: DraftSpec,
    model: Model,
    problems: Sequence[Problem],
    *,
    rows: int | None,
    speculate: Speculation,
    store: Path,
    output: Path,
) -> None:
    """Write a draft, and ``training.json`` beside it, to the directory ``output``.

    ``store`` is a directory for what an interrupted run continues from: the answers that the model
    has written, and the draft half trained.
    """
    wanted = spec.training
    if len(problems) < 2:
        raise ValueError(f"training.problems: {wanted.problems} holds too few problems")
    longest = wanted.max_new_tokens
    ordinary = Temperature(sampler="temperature", temperature=1.0, max_new_tokens=longest)
    batch = rows, speculate
    # The answers' features are known when they are written.
    remember(model, training.default_feature_layers(model.num_layers))
    written = _answers(spec, ordinary, model, problems, *batch, store / "answers")
    others, texts = written[::HELD_OUT], [t for i, t in enumerate(written) if i % HELD_OUT]
    likeliest = Greedy(sampler="greedy", max_new_tokens=longest)
    surest = _answers(spec, likeliest, model, problems[::HELD_OUT], *batch, store / "greedy")
    draft = _untrained(spec, model)
    log.info("the target reads %d answers", len(texts) + len(others) + len(surest))
    layers = draft.architecture.feature_layers
    corpus, unseen, greedy = (training.featurise(model, layers, t) for t in (texts, others, surest))
    model.remember(0)
    steps = training.train(
        model,
        draft,
        corpus,
        steps=wanted.steps,
        batch=wanted.batch,
        learning_rate=wanted.learning_rate,
        seed=spec.seed,
        checkpoint=store / "steps.pt",
    )
    losses = list(followed(steps, wanted.steps, "steps"))
    found = training.quality(model, draft, unseen)
    against = training.quality(model, draft, greedy)
    log.info("held out: %.0f%% right, %.2f accepted", 100 * found.accuracy, against.accepted)
    draft.save(output)
    report = TrainingReport(
        answers=len(texts),
        held_out=len(others),
        parameters=sum(p.numel() for p in draft.parameters()),
        steps=wanted.steps,
        losses=tuple(losses),
        held_out_quality=DraftQuality.model_validate(found._asdict()),
        greedy_quality=DraftQuality.model_validate(against._asdict()),
    )
    write_json(output / "training.json", report.model_dump(mode="json"))


def _answers(
    spec: DraftSpec,
    sampler: Sampler,
    model: Model,
    problems: Sequence[Problem],
    rows: int | None,
    speculate: Speculation,
    store: Path,
) -> list[WrittenAnswer]:
    """The model's answers to problems, in their order; those in the store are not made again."""
    cell = CellSpec(
        engine=spec.engine,
        model=spec.model,
        dataset=spec.dataset,
        prompt=spec.prompt,
        seed=spec.seed,
        decoding=sampler,
    )
    chains = ChainStore(store / "answers.jsonl")
    try:
        records = list(
            answer(
                cell,
                model,
                problems,
                labels={},
                samples=1,
                rows=rows,
                speculate=speculate,
                store=chains,
            )
        )
    finally:
        chains.close()
    prompts = {t.problem.unique_id: t.prompt for t in tasks_of(cell, model, problems, 1)}
    return [WrittenAnswer(prompts[record.problem_id], record.tokens) for record in records]


def _untrained(spec: DraftSpec, model: Model) -> Draft:
    """A draft of the target's width: the target's last layers, and random weights of the seed."""
    wanted = spec.training
    mask = model.tokenizer.convert_tokens_to_ids(wanted.mask_token)
    shape = {
        **training.sizes_like(model),
        "num_hidden_layers": wanted.layers,
        "block_size": wanted.block,
        "dflash_config": {
            "target_layer_ids": training.default_feature_layers(model.num_layers),
            "mask_token_id": mask,
        },
    }
    torch.manual_seed(spec.seed)
    draft = Draft(Architecture.parse(shape, "training")).placed(model.device, model.dtype)
    training.begin_as(draft, model)
    return draft
