"""Reading: passages go through the model once, and the states of some of their tokens are kept.

Those tokens are a random sample, for what is said of all tokens, and besides it every hard one, for
what is said of those: they are few, and a sample would have next to none. Kept are [tokens, hidden]
for each decoder block that is asked for, in the model's own dtype: 4,096 tokens of a model of 36
blocks and 2,560 numbers a state are 0.8 GB in bfloat16.
"""

import math
from collections.abc import Sequence
from itertools import takewhile
from typing import NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from powerblend.blends import Blend, LayerBlend
from powerblend.engine.cache import RaggedCache
from powerblend.engine.model import Model
from powerblend.probe.passages import Passage, Text

HARD = 0.01
"""A token is hard if the model gives it less than this probability."""

CHUNK = 32
"""Tokens whose logits are held at once."""


class Draft(Protocol):
    """A draft model: it predicts the tokens of a block of the answer at once.

    The grid of blocks begins at the answer's first token. A block's first token is known to the
    draft, which predicts the others from it and from the target's features of everything before the
    block.
    """

    block_size: int
    taps: tuple[int, ...]
    """Decoder blocks of the target, counted from 0, whose outputs are the draft's features."""

    def answer_states(self, tokens: Tensor, prompt: int, features: Tensor) -> Tensor:
        """Mask mode: the states [answer, hidden] that the target's ``lm_head`` turns into logits.

        ``tokens`` [prompt + answer] are a passage's, the first ``prompt`` of them the prompt's;
        ``features`` [taps, prompt + answer, hidden] are the outputs of the tapped blocks there. Row
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
    blocks
        [tokens, hidden] by decoder block: its outputs at the same places.
    draft
        [tokens, hidden] the draft's states, None without a draft. A block's first token is the
        target's own business, so its row is that of ``final``.
    """

    gold: Tensor
    sampled: Tensor
    offset: Tensor
    final: Tensor
    blocks: dict[int, Tensor]
    draft: Tensor | None

    def source(self, blend: Blend, chunk: slice, model: Model) -> Tensor:
        """The hidden states of what a blend mixes in, for some of the tokens."""
        if isinstance(blend, LayerBlend):
            return blend.hidden(tuple(self.blocks[tap][chunk] for tap in blend.taps), model)
        if self.draft is None:
            raise ValueError(f"to probe a blend with source {blend.model_dump()}, give its draft")
        return self.draft[chunk]


def read(
    model: Model,
    text: Text,
    layers: Sequence[int],
    draft: Draft | None = None,
) -> Reading:
    """Run each passage through the model and keep what `Reading` holds of its tokens.

    What all passages begin with (worked examples) is computed once. One passage is one row, so
    nothing is padded.
    """
    wanted = sorted({*layers, *(draft.taps if draft else ())})
    shared = _shared(text.passages)
    capacity = max(len(passage.tokens) for passage in text.passages)
    first = model.cache(1, capacity)
    before = _states(model, first, 0, text.passages[0].tokens[:shared], wanted)
    cache = model.cache(1, capacity, first.save(0, 0, shared) if shared else None)
    parts = []
    passages = tqdm(text.passages, unit="text", mininterval=2.0)
    for passage, sampled in zip(passages, text.sampled, strict=True):
        after = _states(model, cache, shared, passage.tokens[shared:], wanted)
        states = torch.cat([before, after], 1)
        parts.append(_kept(model, passage, sampled, states, wanted, draft))
    gold, of_sample, offset, kept = zip(*parts, strict=True)
    states = torch.cat(kept, 1)
    return Reading(
        gold=torch.cat(gold).to(model.device),
        sampled=torch.cat(of_sample),
        offset=torch.cat(offset),
        final=states[0],
        blocks=dict(zip(wanted, states[1:], strict=False)),
        draft=states[-1] if draft else None,
    )


def _shared(passages: Sequence[Passage]) -> int:
    """Length of what all passages begin with, short of any prompt's last token."""
    columns = zip(*(passage.tokens[: passage.prompt - 1] for passage in passages), strict=False)
    return sum(1 for _ in takewhile(lambda column: len(set(column)) == 1, columns))


def _states(
    model: Model, cache: RaggedCache, start: int, tokens: Sequence[int], layers: Sequence[int]
) -> Tensor:
    """The final states and those of the blocks, as [1 + blocks, new, hidden]."""
    final, blocks = model.states(cache, start, torch.tensor([tokens], dtype=torch.long), layers)
    return torch.cat([final, *blocks])


def _kept(
    model: Model,
    passage: Passage,
    sampled: NDArray[np.bool_],
    states: Tensor,
    wanted: Sequence[int],
    draft: Draft | None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Gold tokens, whether sampled, offsets, and states [1 + blocks (+ draft), tokens, hidden]."""
    tokens, start = torch.tensor(passage.tokens), passage.prompt
    # The state at a position predicts the token after it.
    answer, predicting = tokens[start:], states[:, start - 1 : -1]
    places = (torch.from_numpy(sampled) | _is_hard(model, predicting[0], answer)).nonzero()[:, 0]
    kept, offset = predicting[:, places], torch.zeros_like(places)
    if draft is not None:
        features = states[[1 + wanted.index(tap) for tap in draft.taps]]
        drafted = draft.answer_states(tokens, start, features)[places]
        offset = places % draft.block_size
        first = (offset == 0)[:, None].to(drafted.device)
        kept = torch.cat([kept, torch.where(first, kept[0], drafted)[None]])
    return answer[places], torch.from_numpy(sampled)[places], offset, kept


@torch.inference_mode()
def _is_hard(model: Model, final: Tensor, answer: Tensor) -> Tensor:
    """Which tokens [answer] the model gives less than `HARD`, from its states [answer, hidden]."""
    parts = [
        model.logits(states).log_softmax(-1).cpu().gather(-1, gold[:, None])[:, 0]
        for states, gold in zip(final.split(CHUNK), answer.split(CHUNK), strict=True)
    ]
    return torch.cat(parts) < math.log(HARD)
