"""Check conditions and prompts against the model.

Everything that can be known to be wrong is said before anything is generated.
"""

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transformers import AutoConfig, AutoTokenizer

from powerblend.api.loading import check_config
from powerblend.blends.draft import TRAINED
from powerblend.draft.dflash import TargetSizes, read_architecture
from powerblend.infrastructure.files import REMADE, read_json, write_json
from powerblend.jobs import arguments
from powerblend.samplers import Sampler
from powerblend.study.problems import read_problems
from powerblend.study.prompts import read_prompt, tokenise
from powerblend.study.schema import Study, parse_study
from powerblend.vocabulary.checked import Checked, PromptLengths
from powerblend.vocabulary.errors import ConfigError
from powerblend.vocabulary.problem import Problem

TARGET_SIZES = ("num_hidden_layers", "hidden_size", "vocab_size")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Name the study, its problems and the shards in use."""
    parser.add_argument(
        "--shards",
        type=Path,
        nargs="+",
        required=True,
        metavar="PATH",
        help="the shards that are used, in order",
    )
    arguments.add_spec(parser, "the study, as far as it is checked")
    parser.add_argument("--model", type=Path, metavar="PATH", help="directory of a fetched model")
    arguments.add_paths(
        parser,
        problems="the whole dataset, as JSON lines (results/STUDY/problems/)",
        output="what was learned, as JSON",
    )


def run(options: argparse.Namespace) -> None:
    """Write what was learned, if the study can run."""
    study = parse_study(read_json(options.spec))
    shards = {path: read_problems(path) for path in options.shards}
    check_shards(study, read_problems(options.problems), shards)
    study.grading.check()
    chosen = [problem for shard in shards.values() for problem in shard]
    write_json(options.output, check_study(study, options.model, chosen).model_dump())


def check_study(study: Study, model: Path | None, problems: list[Problem]) -> Checked:
    """Check the conditions and the prompts against the model; what was learned on the way.

    Raises
    ------
    ConfigError
        If the model cannot be had or not be decoded, has no such layer, has no chat template, or is
        too short for a prompt with its answer.
    """
    whole, tokenizer = _load(study, model)
    try:
        longest = check_config(whole)
    except ValueError as error:
        raise ConfigError(f"model.name: {study.model.name}: {error}") from None
    config = whole.get_text_config()
    layers = config.num_hidden_layers
    for name, sampler in study.samplers().items():
        _check_blend(name, sampler, layers)
    _check_probe(study, layers, problems)
    _check_drafts(study, config, tokenizer)
    lengths = _prompt_lengths(study, tokenizer, problems)
    needed = max(lengths) + max(s.max_new_tokens for s in study.samplers().values())
    if longest is not None and needed > longest:
        raise ConfigError(
            f"decoding.max_new_tokens: the longest prompt and its answer take {needed} tokens, but "
            f"{study.model.name} has positions for {longest}"
        )
    return Checked(
        model=study.model.name,
        architecture=config.architectures,
        layers=layers,
        hidden_size=config.hidden_size,
        vocabulary=config.vocab_size,
        problems=len(problems),
        prompt_tokens=PromptLengths(shortest=min(lengths), longest=max(lengths)),
    )


def check_shards(study: Study, whole: list[Problem], shards: Mapping[Path, list[Problem]]) -> None:
    """Check that each of the study's shards, in order, holds its part of the problems.

    Raises
    ------
    ConfigError
        Naming the file that does not.
    """
    for index, (path, problems) in zip(study.shards.indices, shards.items(), strict=True):
        belong = whole[index :: study.shards.of]
        if problems != belong:
            same = [a == b for a, b in zip(problems, belong, strict=False)]
            line = same.index(False) + 1 if False in same else min(len(problems), len(belong)) + 1
            raise ConfigError(
                f"{path}, line {line}: not what the dataset has there ({len(problems)} problems of "
                f"{len(belong)}); {REMADE}"
            )
    if not any(shards.values()):
        raise ConfigError(f"shards.use: the shards {study.shards.use} hold no problems")


def _load(study: Study, model: Path | None) -> tuple[Any, Any]:
    source = model or study.model.name
    options = {"revision": study.model.revision, "trust_remote_code": False}
    try:
        config = AutoConfig.from_pretrained(source, **options)
        return config, AutoTokenizer.from_pretrained(source, **options)
    except (OSError, ValueError) as error:
        name = f"{study.model.name} (revision {study.model.revision})"
        reason = str(error).strip().splitlines()[0]
        raise ConfigError(f"model.name: cannot load {name}: {reason}") from error


def _check_blend(name: str, sampler: Sampler, layers: int) -> None:
    if sampler.blend is None:
        return
    try:
        sampler.blend.check(layers)
    except ValueError as error:
        raise ConfigError(f"conditions.{name}: {error}") from None


def _check_probe(study: Study, layers: int, problems: list[Problem]) -> None:
    probe = study.probe
    if not probe.enabled and not study.matches():
        return
    for layer in probe.layers:
        if layer >= layers:
            raise ConfigError(
                f"probe.layers: {layer} is listed, but the model has {layers} decoder blocks: use "
                f"0 to {layers - 1}"
            )
    if probe.over == "solutions" and not any(p.solution.strip() for p in problems):
        raise ConfigError(
            f"probe.over: the problems of {study.dataset.name} have no solutions to read; name "
            "their column in dataset.columns.solution, or set `probe: {over: greedy}` to read the "
            "study's own greedy answers, or `probe: {enabled: false}`"
        )


def _check_drafts(study: Study, config: Any, tokenizer: Any) -> None:
    """Whether the drafts in use fit the model, and the token that masks is one."""
    target = TargetSizes(study.model.name, *(int(getattr(config, name)) for name in TARGET_SIZES))
    for blend in study.drafts():
        if blend.draft != TRAINED:
            try:
                draft = read_architecture(str(blend.draft), blend.revision)
                draft.check_fit(str(blend.draft), target)
            except (OSError, ValueError) as error:
                raise ConfigError(f"blend.draft: {error}") from None
        elif study.training and study.training.mask_token not in tokenizer.get_vocab():
            raise ConfigError(
                f"training.mask_token: {study.training.mask_token!r} is no token of "
                f"{study.model.name}; use one that no text holds, as a special one"
            )


def _prompt_lengths(study: Study, tokenizer: Any, problems: list[Problem]) -> list[int]:
    prompt = read_prompt(study.prompt)
    if prompt.style == "chat" and not (prompt.chat_template_jinja or tokenizer.chat_template):
        raise ConfigError(
            f"model.name: {study.model.name} has no chat template to prompt it with; set `prompt: "
            "{style: plain}` for a base model, or give one in prompt.chat_template_jinja"
        )
    return [len(tokenise(tokenizer, p.problem, prompt)) for p in problems]
