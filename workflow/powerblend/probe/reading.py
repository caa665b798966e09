"""Reading: passages go through the model once, and the states of the chosen tokens are kept.

Kept are [tokens, hidden] for each decoder block that is asked for, in the model's own dtype: 4,096
tokens of a model of 36 blocks and 2,560 numbers a state are 0.8 GB in bfloat16.
"""

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
    """What the model made of the chosen tokens, in the order of the passages.

    Attributes
    ----------
    gold
        [tokens] the tokens themselves.
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
    """Run each passage through the model and keep what `Reading` holds of its chosen tokens.

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
    for passage, places in zip(
        tqdm(text.passages, unit="text", mininterval=2.0), text.chosen, strict=True
    ):
        if len(places):
            after = _states(model, cache, shared, passage.tokens[shared:], wanted)
            states = torch.cat([before, after], 1)
            parts.append(_kept(passage, places, states, wanted, draft))
    gold, offset, kept = zip(*parts, strict=True)
    states = torch.cat(kept, 1)
    return Reading(
        gold=torch.cat(gold).to(model.device),
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
    passage: Passage,
    places: NDArray[np.int64],
    states: Tensor,
    wanted: Sequence[int],
    draft: Draft | None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Gold tokens, offsets and states [1 + blocks (+ draft), tokens, hidden] of chosen tokens."""
    index = torch.from_numpy(places)
    tokens = torch.tensor(passage.tokens)
    # The state at a position predicts the token after it.
    kept = states[:, index + passage.prompt - 1]
    offset = torch.zeros_like(index)
    if draft is not None:
        features = states[[1 + wanted.index(tap) for tap in draft.taps]]
        drafted = draft.answer_states(tokens, passage.prompt, features)[index]
        offset = index % draft.block_size
        first = (offset == 0)[:, None].to(drafted.device)
        kept = torch.cat([kept, torch.where(first, kept[0], drafted)[None]])
    return tokens[index + passage.prompt], offset, kept
