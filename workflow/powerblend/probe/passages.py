"""The texts that the probe reads, and which of their tokens it looks at."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from powerblend.study.config import ConfigError
from powerblend.study.problems import Problem
from powerblend.study.prompts import chat, tokenise


class Passage(NamedTuple):
    """A prompt and a text after it, as token ids; ``prompt`` counts those of the prompt."""

    tokens: list[int]
    prompt: int


class Text(NamedTuple):
    """Passages and, by passage, which of their answers' tokens are measured."""

    passages: list[Passage]
    chosen: list[NDArray[np.int64]]

    @property
    def counts(self) -> dict[str, int]:
        """What is measured, for the record."""
        return {
            "problems": sum(len(places) > 0 for places in self.chosen),
            "tokens": sum(map(len, self.chosen)),
            "of_tokens": sum(len(p.tokens) - p.prompt for p in self.passages),
        }


def text_of(
    spec: Mapping[str, Any],
    tokenizer: Any,
    problems: Sequence[Problem],
    records: Sequence[Mapping[str, Any]],
) -> Text:
    """What a probe reads: solutions of the problems, or the answers in greedy records.

    Raises
    ------
    ConfigError
        If there is no text to read.
    """
    passages = passages_of(spec, tokenizer, problems, records)
    return Text(passages, sample_tokens(passages, spec["tokens"]))


def passages_of(
    spec: Mapping[str, Any],
    tokenizer: Any,
    problems: Sequence[Problem],
    records: Sequence[Mapping[str, Any]],
) -> list[Passage]:
    """Up to ``spec["problems"]`` passages, evenly spaced among all: solutions, or greedy answers.

    Raises
    ------
    ConfigError
        If there is no text to read.
    """
    by_id = {problem.unique_id: problem for problem in problems}
    if spec["over"]["text"] == "solutions":
        texts = {i: problem.solution for i, problem in by_id.items() if problem.solution.strip()}
        answers = {
            key: tokenizer(texts[key], add_special_tokens=False)["input_ids"]
            for key in _spaced(list(texts), spec["problems"])
        }
    else:
        texts = {row["problem_id"]: row["tokens"] for row in records if row["sample"] == 0}
        answers = {key: texts[key] for key in _spaced(list(texts), spec["problems"])}
    if not any(answers.values()):
        raise ConfigError(
            "probe.over: there is no text to read; solutions come from the dataset's column "
            "`solution` (dataset.columns.solution names another), and `over: greedy` reads the "
            "greedy answers of the study instead"
        )
    passages = []
    for key, answer in answers.items():
        messages = chat(by_id[key].problem, spec["prompt"])
        prompt = tokenise(tokenizer, messages, spec["prompt"]["chat_template"])
        passages.append(Passage([*prompt, *answer], len(prompt)))
    return passages


def sample_tokens(passages: Sequence[Passage], count: int) -> list[NDArray[np.int64]]:
    """Up to ``count`` of all answer tokens, drawn without replacement: indices by passage.

    An index counts from the answer's first token. The draw is always the same one.
    """
    lengths = [len(passage.tokens) - passage.prompt for passage in passages]
    total = sum(lengths)
    order = np.random.Generator(np.random.Philox(key=0)).random(total).argsort(kind="stable")
    chosen = np.zeros(total, bool)
    chosen[order[:count]] = True
    parts = np.split(chosen, np.cumsum(lengths)[:-1])
    return [part.nonzero()[0] for part in parts]


def _spaced(keys: Sequence[str], count: int) -> list[str]:
    """``count`` of the keys, evenly spaced, or all."""
    step = max(1.0, len(keys) / count)
    return [keys[int(i * step)] for i in range(min(count, len(keys)))]
