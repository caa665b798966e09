"""Measures of a distribution of the next token beside the model's own, token by token.

Logits are made for `CHUNK_TOKENS` tokens and one source at a time and dropped again; what is left
is a few numbers a token.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from powerblend.blends import Blend
from powerblend.engine.model import Model
from powerblend.infrastructure.progress import followed
from powerblend.probe.hidden_states import CHUNK_TOKENS, HARD_PROBABILITY, Reading
from powerblend.vocabulary.measurements import NextTokenMeasures


class ModelDistribution(NamedTuple):
    """The model's own distribution of some tokens: what others are measured against."""

    gold: Tensor  # [tokens, 1]
    logits: Tensor  # [tokens, vocabulary], as the next two
    log_p: Tensor
    p: Tensor
    top: Tensor  # [tokens, 1] the most likely token
    spread: Tensor  # [tokens] as `spread` has it


class Scores(NamedTuple):
    """A distribution on some tokens, each [tokens]; `measure` gives them in float64 on the host.

    Attributes
    ----------
    rank
        Of the gold token, by logits: 1 + the number of tokens that are strictly likelier.
    log_prob
        Of the gold token, in nats.
    kl
        KL(p || q), with q this distribution and p the model's own, in nats.
    flipped
        1 where a token is strictly likelier than the model's most likely one, 0 elsewhere.
    scale
        Standard deviation of the logits over the vocabulary, relative to the model's.
    """

    rank: Tensor
    log_prob: Tensor
    kl: Tensor
    flipped: Tensor
    scale: Tensor

    def only(self, chosen: Tensor) -> "Scores":
        """Those of some tokens, by a mask."""
        return Scores(*(column[chosen] for column in self))


def model_distribution(logits: Tensor, gold: Tensor) -> ModelDistribution:
    """What `scores` compares with; ``logits`` [tokens, vocabulary], ``gold`` [tokens]."""
    log_p = logits.log_softmax(-1)
    top = logits.argmax(-1, keepdim=True)
    return ModelDistribution(gold[:, None], logits, log_p, log_p.exp(), top, spread(logits))


def scores(target: ModelDistribution, logits: Tensor) -> Scores:
    """Measure a distribution by its logits [tokens, vocabulary]."""
    log_q = logits.log_softmax(-1)
    at_gold = logits.gather(-1, target.gold)
    return Scores(
        rank=1 + torch.count_nonzero(logits > at_gold, -1),
        log_prob=log_q.gather(-1, target.gold)[:, 0],
        kl=(target.p * (target.log_p - log_q)).sum(-1),
        flipped=logits.gather(-1, target.top)[:, 0] < logits.amax(-1),
        scale=spread(logits) / target.spread,
    )


def spread(logits: Tensor) -> Tensor:
    """Root mean square deviation of logits from their mean over the vocabulary."""
    # Ten times as fast as torch's std, and every distribution's logits pass through here.
    centred = logits - logits.mean(-1, keepdim=True)
    return torch.linalg.vector_norm(centred, dim=-1) / math.sqrt(logits.shape[-1])


@torch.inference_mode()
def measure(model: Model, reading: Reading, blends: Sequence[Blend]) -> list[Scores]:
    """The scores of the model itself and then of each blend, on all tokens of a reading.

    Blends of one source share its logits.
    """
    tokens, sources = len(reading.gold), _by_source(blends)
    # Made whole: thousands of small tensors that stay would leave holes between the large ones
    # that go, and memory would grow with every distribution.
    table = torch.empty(1 + len(blends), len(Scores._fields), tokens, dtype=torch.float64)
    chunks = [slice(start, start + CHUNK_TOKENS) for start in range(0, tokens, CHUNK_TOKENS)]
    for chunk in followed(chunks, len(chunks), "chunks"):
        target = model_distribution(model.logits(reading.final[chunk]), reading.gold[chunk])
        _fill(table[0, :, chunk], scores(target, target.logits))
        for indices in sources:
            logits = model.logits(reading.source(blends[indices[0]], chunk, model))
            for index in indices:
                mixed = blends[index].mix(target.logits, logits)
                _fill(table[1 + index, :, chunk], scores(target, mixed))
    return [Scores(*columns) for columns in table]


def _fill(columns: Tensor, measured: Scores) -> None:
    for column, values in zip(columns, measured, strict=True):
        column.copy_(values)


def summary(own: Scores, other: Scores, sampled: Tensor) -> NextTokenMeasures:
    """What a distribution's scores come to, beside the model's own: on the sample, on hard tokens.

    ``sampled`` [tokens] bool are those of the sample.
    """
    hard, every = is_hard(own), other.only(sampled)
    of_hard = _prediction(own.only(hard), other.only(hard))
    return NextTokenMeasures.model_validate(
        {
            **_prediction(own.only(sampled), every),
            "kl": _mean(every.kl),
            "flips": _mean(every.flipped),
            "scale": _mean(every.scale),
            **{f"hard_{name}": value for name, value in of_hard.items()},
        }
    )


def is_hard(own: Scores) -> Tensor:
    """Which tokens the model itself finds unlikely."""
    return own.log_prob < math.log(HARD_PROBABILITY)


def _prediction(own: Scores, other: Scores) -> dict[str, float | None]:
    return {
        "mean_rank": _mean(other.rank),
        "median_rank": float(np.median(other.rank)) if len(other.rank) else None,
        "log_loss": _mean(-other.log_prob),
        "better": _mean(other.rank < own.rank),
        "likelier": _mean(other.log_prob > own.log_prob),
    }


def _mean(values: Tensor) -> float | None:
    return float(values.double().mean()) if len(values) else None


def _by_source(blends: Sequence[Blend]) -> list[list[int]]:
    """Indices of the blends that differ in beta alone."""
    groups: dict[str, list[int]] = {}
    for index, blend in enumerate(blends):
        groups.setdefault(blend.model_dump_json(exclude={"beta"}), []).append(index)
    return list(groups.values())
