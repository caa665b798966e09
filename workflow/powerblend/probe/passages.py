"""The texts that the probe reads, and the sample of their tokens."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from powerblend.study.prompts import tokenise
from powerblend.vocabulary.errors import ConfigError
from powerblend.vocabulary.problem import Problem
from powerblend.vocabulary.records import AnswerRecord
from powerblend.vocabulary.specs import ReadingSpec


class Passage(NamedTuple):
    """A prompt and a text after it, as token ids; ``prompt`` counts those of the prompt."""

    tokens: list[int]
    prompt: int


class Text(NamedTuple):
    """Passages and, for each, a mask [answer tokens] of those that are of the sample."""

    passages: list[Passage]
    sampled: list[NDArray[np.bool_]]

    @property
    def counts(self) -> dict[str, int]:
        """How much there is to read, and how much of it is sampled."""
        return {
            "problems": len(self.passages),
            "tokens": int(sum(mask.sum() for mask in self.sampled)),
            "of_tokens": sum(map(len, self.sampled)),
        }


def text_of(
    spec: ReadingSpec,
    tokenizer: Any,
    problems: Sequence[Problem],
    records: Sequence[AnswerRecord],
) -> Text:
    """What a probe reads: solutions of the problems, or the answers in greedy records.

    Raises
    ------
    ConfigError
        If there is no text to read.
    """
    passages = passages_of(spec, tokenizer, problems, records)
    return Text(passages, sample_tokens(passages, spec.tokens))


def passages_of(
    spec: ReadingSpec,
    tokenizer: Any,
    problems: Sequence[Problem],
    records: Sequence[AnswerRecord],
) -> list[Passage]:
    """Up to ``spec.problems`` passages, evenly spaced among all: solutions, or greedy answers.

    Raises
    ------
    ConfigError
        If there is no text to read.
    """
    by_id = {problem.unique_id: problem for problem in problems}
    if spec.over.text == "solutions":
        solved = [key for key, problem in by_id.items() if problem.solution.strip()]
        answers = {
            key: tokenizer(by_id[key].solution, add_special_tokens=False)["input_ids"]
            for key in _spaced(solved, spec.problems)
        }
    else:
        drawn = {record.problem_id: record.tokens for record in records if record.sample == 0}
        answers = {key: drawn[key] for key in _spaced(list(drawn), spec.problems)}
    answers = {key: answer for key, answer in answers.items() if answer}
    if not answers:
        raise ConfigError(
            "probe.over: there is no text to read; solutions come from the dataset's column "
            "`solution` (dataset.columns.solution names another), and `over: greedy` reads the "
            "greedy answers of the study instead"
        )
    passages = []
    for key, answer in answers.items():
        prompt = tokenise(tokenizer, by_id[key].problem, spec.prompt)
        passages.append(Passage([*prompt, *answer], len(prompt)))
    return passages


def sample_tokens(passages: Sequence[Passage], count: int) -> list[NDArray[np.bool_]]:
    """Up to ``count`` of all answer tokens, drawn without replacement and always the same ones."""
    lengths = [len(passage.tokens) - passage.prompt for passage in passages]
    order = np.random.Generator(np.random.Philox(key=0)).random(sum(lengths)).argsort(kind="stable")
    sampled = np.zeros(len(order), bool)
    sampled[order[:count]] = True
    return np.split(sampled, np.cumsum(lengths)[:-1])


def _spaced(keys: Sequence[str], count: int) -> list[str]:
    """``count`` of the keys, evenly spaced, or all."""
    step = max(1.0, len(keys) / count)
    return [keys[int(i * step)] for i in range(min(count, len(keys)))]
