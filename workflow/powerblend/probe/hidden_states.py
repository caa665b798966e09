"""Reading: passages go through the model once, and the states of some of their tokens are kept.

Those tokens are a random sample, for what is said of all tokens, and besides it every hard one, for
what is said of those: they are few, and a sample would have next to none. Kept are [tokens, hidden]
for each decoder layer that is asked for, in the model's own dtype: 4,096 tokens of a model of 36
layers and 2,560 numbers a state are 0.8 GB in bfloat16.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from powerblend.blends import Blend, HiddenBlend
from powerblend.engine.cache import RaggedCache
from powerblend.engine.model import Model
from powerblend.engine.scheduler import common_prefix
from powerblend.infrastructure.progress import followed
from powerblend.probe.passages import Passage, Text

HARD_PROBABILITY = 0.01
"""A token is hard if the model gives it less than this probability."""

CHUNK_TOKENS = 32
"""Tokens whose logits are held at once."""


class ProbedDraft(Protocol):
    """A draft model: it predicts the tokens of a block of the answer at once.

    The grid of blocks begins at the answer's first token. A block's first token is known to the
    draft, which predicts the others from it and from the target's features of everything before the
    block.
    """

    block_size: int
    feature_layers: tuple[int, ...]
    """Decoder layers of the target, counted from 0, whose outputs are the draft's features."""

    def answer_states(self, tokens: Tensor, prompt: int, features: Tensor) -> Tensor:
        """Mask mode: the states [answer, hidden] that the target's ``lm_head`` turns into logits.

        ``tokens`` [prompt + answer] are a passage's, the first ``prompt`` of them the prompt's;
        ``features`` [feature layers, prompt + answer, hidden] are these layers' outputs there. Row
        i predicts the answer's token i from what the draft may see of it: the features before its
        block, and its block's first token. Rows of a block's first token are not used.
        """


class Reading(NamedTuple):
    """What the model made of the sampled and of the hard tokens, in the order of the passages.

    Attributes
    ----------
    gold
        [tokens] the tokens themselves.
    sampled
        [tokens] whether each is of the sample; those that are not are hard.
    offset
        [tokens] where each stands in its block of the draft's grid; all 0 without a draft.
    final
        [tokens, hidden] the states that ``lm_head`` turns into the model's own logits of them.
    layers
        [tokens, hidden] by decoder layer: its outputs at the same tokens.
    draft
        [tokens, hidden] the draft's states, None without a draft. A block's first token is the
        target's own business, so its row is that of ``final``.
    """

    gold: Tensor
    sampled: Tensor
    offset: Tensor
    final: Tensor
    layers: dict[int, Tensor]
    draft: Tensor | None

    def source(self, blend: Blend, chunk: slice, model: Model) -> Tensor:
        """The hidden states of what a blend mixes in, for some of the tokens."""
        if isinstance(blend, HiddenBlend):
            outputs = tuple(self.layers[layer][chunk] for layer in blend.layers_read)
            return blend.hidden(outputs, model)
        if self.draft is None:
            raise ValueError(f"to probe a blend with source {blend.model_dump()}, give its draft")
        return self.draft[chunk]


@torch.inference_mode()
def read(
    model: Model,
    text: Text,
    layers: Sequence[int],
    draft: ProbedDraft | None = None,
) -> Reading:
    """Run each passage through the model and keep what `Reading` holds of its tokens.

    What all passages begin with (worked examples) is computed once. One passage is one row, so
    nothing is padded.
    """
    wanted = sorted({*layers, *(draft.feature_layers if draft else ())})
    shared = common_prefix([np.array(p.tokens[: p.prompt]) for p in text.passages])
    capacity = max(len(passage.tokens) for passage in text.passages)
    first = model.cache(1, capacity)
    before = _states(model, first, 0, text.passages[0].tokens[:shared], wanted)
    cache = model.cache(1, capacity, first.save(0, 0, shared) if shared else None)
    parts = []
    passages = followed(text.passages, len(text.passages), "texts")
    for passage, sampled in zip(passages, text.sampled, strict=True):
        after = _states(model, cache, shared, passage.tokens[shared:], wanted)
        kept_tokens = _kept_tokens(model, passage, sampled, after[0])
        # The state at a position predicts the token after it.
        states = after[:, kept_tokens + passage.prompt - 1 - shared]
        if draft is not None:
            read_by_draft = [1 + wanted.index(layer) for layer in draft.feature_layers]
            features = torch.cat([before[read_by_draft], after[read_by_draft]], 1)
            drafted = _drafted(draft, passage, kept_tokens, features, states[0])
            states = torch.cat([states, drafted[None]])
        parts.append((passage, kept_tokens, torch.from_numpy(sampled), states))
    kept = torch.cat([states for *_, states in parts], 1)
    return Reading(
        gold=torch.cat([torch.tensor(p.tokens)[at + p.prompt] for p, at, *_ in parts]).to(
            model.device
        ),
        sampled=torch.cat([sampled[at] for _, at, sampled, _ in parts]),
        offset=torch.cat([at % (draft.block_size if draft else 1) for _, at, *_ in parts]),
        final=kept[0],
        layers=dict(zip(wanted, kept[1:], strict=False)),
        draft=kept[-1] if draft else None,
    )


def _states(
    model: Model, cache: RaggedCache, start: int, tokens: Sequence[int], layers: Sequence[int]
) -> Tensor:
    """The final states and those of the layers, as [1 + layers, new, hidden]."""
    final, outputs = model.states(cache, start, torch.tensor([tokens], dtype=torch.long), layers)
    return torch.cat([final, *outputs])


def _kept_tokens(
    model: Model, passage: Passage, sampled: NDArray[np.bool_], final: Tensor
) -> Tensor:
    """Which of a passage's answer tokens are kept: the sampled ones and the hard ones.

    ``final`` [new, hidden] are the model's states up to the passage's end.
    """
    answer = torch.tensor(passage.tokens[passage.prompt :], device=final.device)
    predicting = final[-1 - len(answer) : -1]
    hard = [
        model.logits(states).log_softmax(-1).gather(-1, gold[:, None])[:, 0]
        < math.log(HARD_PROBABILITY)
        for states, gold in zip(
            predicting.split(CHUNK_TOKENS), answer.split(CHUNK_TOKENS), strict=True
        )
    ]
    return (torch.from_numpy(sampled) | torch.cat(hard).cpu()).nonzero()[:, 0]


def _drafted(
    draft: ProbedDraft, passage: Passage, kept_tokens: Tensor, features: Tensor, final: Tensor
) -> Tensor:
    """The draft's states of the tokens kept; the target's at the first of each block."""
    tokens = torch.tensor(passage.tokens)
    predicted = draft.answer_states(tokens, passage.prompt, features)[kept_tokens]
    first = (kept_tokens % draft.block_size == 0)[:, None].to(predicted.device)
    return torch.where(first, final, predicted)
