"""The draft job: a small draft for a model that has none, trained on what the model writes."""

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from powerblend.draft import training
from powerblend.draft.dflash import Architecture, Draft
from powerblend.draft.training import WrittenAnswer
from powerblend.engine.model import Model
from powerblend.infrastructure.files import write_text
from powerblend.jobs.generate import answer, tasks_of
from powerblend.study.problems import Problem
from powerblend.study.store import ChainStore

log = logging.getLogger(__name__)

HELD_OUT = 10
"""One problem in so many is kept to measure the draft on."""


def train_draft(
    spec: Mapping[str, Any],
    model: Model,
    problems: Sequence[Problem],
    *,
    rows: int | None,
    store: Path,
    output: Path,
) -> None:
    """Write a draft, and ``training.json`` beside it, to the directory ``output``.

    ``store`` is a directory for what an interrupted run continues from: the answers that the model
    has written, and the draft half trained.
    """
    wanted = spec["training"]
    if len(problems) < 2:
        raise ValueError(f"training.problems: {wanted['problems']} holds too few problems")
    warm = {"sampler": "temperature", "temperature": 1.0}
    written = _answers(spec, model, problems, warm, rows, store / "answers")
    others, texts = written[::HELD_OUT], [t for i, t in enumerate(written) if i % HELD_OUT]
    greedily = {"sampler": "greedy"}
    surest = _answers(spec, model, problems[::HELD_OUT], greedily, rows, store / "greedy")
    draft = _untrained(spec, model)
    log.info("the target reads %d answers", len(texts) + len(others) + len(surest))
    layers = draft.architecture.feature_layers
    corpus, unseen, greedy = (training.featurise(model, layers, t) for t in (texts, others, surest))
    steps = training.train(
        model,
        draft,
        corpus,
        steps=wanted["steps"],
        batch=wanted["batch"],
        learning_rate=wanted["learning_rate"],
        seed=spec["seed"],
        checkpoint=store / "checkpoint.pt",
    )
    losses = list(tqdm(steps, total=wanted["steps"], unit="step", mininterval=2.0))
    found = training.quality(model, draft, unseen)
    against = training.quality(model, draft, greedy)
    log.info("held out: %.0f%% right, %.2f accepted", 100 * found.accuracy, against.accepted)
    draft.save(output)
    report = {
        "answers": len(texts),
        "held_out": len(others),
        "parameters": sum(p.numel() for p in draft.parameters()),
        "steps": wanted["steps"],
        "losses": losses,
        "held_out_quality": found._asdict(),
        "greedy_quality": against._asdict(),
    }
    write_text(output / "training.json", json.dumps(report, indent=2) + "\n")


def _answers(
    spec: Mapping[str, Any],
    model: Model,
    problems: Sequence[Problem],
    decoding: Mapping[str, Any],
    rows: int | None,
    store: Path,
) -> list[WrittenAnswer]:
    """The model's answers to problems, in their order; those in the store are not made again."""
    decoding = {**decoding, "max_new_tokens": spec["training"]["max_new_tokens"]}
    writing = {k: v for k, v in spec.items() if k != "training"} | {"decoding": decoding}
    chains = ChainStore(store / "answers.jsonl")
    try:
        how: Any = {"labels": {}, "samples": 1, "rows": rows, "store": chains}
        records = list(answer(writing, model, problems, **how))
    finally:
        chains.close()
    prompts = {t.problem.unique_id: t.prompt for t in tasks_of(writing, model, problems, 1)}
    return [WrittenAnswer(prompts[r["problem_id"]], r["tokens"]) for r in records]


def _untrained(spec: Mapping[str, Any], model: Model) -> Draft:
    """A draft of the target's width: the target's last layers, and random weights of the seed."""
    wanted = spec["training"]
    mask = model.tokenizer.convert_tokens_to_ids(wanted["mask_token"])
    shape = {
        **training.sizes_like(model),
        "num_hidden_layers": wanted["layers"],
        "block_size": wanted["block"],
        "dflash_config": {
            "target_layer_ids": training.default_feature_layers(model.num_layers),
            "mask_token_id": mask,
        },
    }
    torch.manual_seed(spec["seed"])
    draft = Draft(Architecture.parse(shape, "training")).placed(model.device, model.dtype)
    training.begin_as(draft, model)
    return draft
