"""Training a draft: blocks of masks at random places of answers that the target itself wrote.

The recipe is that of the public ones: an anchor anywhere in an answer, its token and masks after
it, attention to the target's features of everything before and to the whole block, cross-entropy at
the masked tokens with weights that fall with the offset (DFlash, arXiv 2602.06036, section 4). The
target's embedding and ``lm_head`` serve both and stay as they are.

Two things make more of few answers and little time. The draft learns the target's distribution at a
token instead of the one token that was drawn from it; and of the vocabulary, whose logits would
take most of the time, each step computes those that the answers hold and a sample of the others,
which stands for all of them (sampled softmax: Jean et al., arXiv 1412.2007).
"""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, pad

from powerblend.draft.dflash import Context, Draft
from powerblend.engine.batch import Guesses
from powerblend.engine.model import Model
from powerblend.engine.scheduler import common_prefix

SHARED_SIZES = (
    *("hidden_size", "intermediate_size", "vocab_size", "num_attention_heads", "head_dim"),
    *("num_key_value_heads", "rms_norm_eps", "rope_parameters", "max_position_embeddings"),
)
"""Keys of a target's configuration that its draft's has too: both have the same hidden states."""

WEIGHT_FALL_OFFSETS = 7.0
"""Offsets after which a masked token's weight has fallen to 1/e."""

MAX_GRADIENT_NORM = 1.0
"""Largest norm of a gradient."""

MIN_INPUT_RMS = 1e-6
"""Root mean square that smaller ones of an input count as."""

WARM_UP_SHARE = 0.1
"""Share of the steps in which the learning rate rises."""

SAMPLED_TOKENS = 1024
"""Tokens of the vocabulary that no answer holds, whose logits a step computes."""

START_SHARPNESS = 0.3
"""Of a draft's logits before training, against those that its target's layers would give: of a
block of masks, which they have never seen, they are sure of something wrong."""

SECONDS_BETWEEN_CHECKPOINTS = 30.0
"""As much is lost at most where a training is interrupted."""

FEATURE_BATCH_ROWS = 26
"""Sequences whose features are computed at once."""


class WrittenAnswer(NamedTuple):
    """A prompt and its answer, as the target wrote it: token ids."""

    prompt: list[int]
    answer: list[int]


class Corpus(NamedTuple):
    """Answers with the target's features of every token; of what all prompts begin with, once.

    ``shared`` [prefix, features] are those of what they begin with; sequence i has ``tokens[i]``
    [length], ``features[i]`` [length - 1, features], ``finals[i]`` [length - 1, hidden], of which
    the target's ``lm_head`` makes the logits of the next token, and an answer that begins at
    ``starts[i]``.
    """

    shared: Tensor
    tokens: list[Tensor]
    features: list[Tensor]
    finals: list[Tensor]
    starts: list[int]


class Blocks(NamedTuple):
    """Blocks to denoise: sequence, index of the first token in it, and tokens [rows, block].

    ``known`` [rows, block] bool are the offsets whose token is the answer's.
    """

    sequences: Tensor
    anchors: Tensor
    tokens: Tensor
    known: Tensor


class Quality(NamedTuple):
    """How well a draft predicts, over the blocks of the answers' own grid.

    ``accuracy`` of its most likely tokens, ``by_offset`` 1, 2, ..., and ``accepted``, the mean
    number of leading tokens of a block that are all right, of ``offered`` that the answers have.
    """

    accuracy: float
    by_offset: list[float]
    accepted: float
    offered: float


class Vocabulary(NamedTuple):
    """The tokens ``held`` [n] by some answers, and the ``others`` [vocabulary - n]."""

    held: Tensor
    others: Tensor

    @classmethod
    def of(cls, corpus: Corpus, size: int) -> "Vocabulary":
        """The vocabulary of ``size`` tokens, seen from a corpus."""
        held = torch.cat(corpus.tokens).unique().cpu()
        other = torch.ones(size, dtype=torch.bool).scatter(0, held, False)
        device = corpus.shared.device
        return cls(held.to(device), other.nonzero()[:, 0].to(device))

    def sample(self, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Those held and some others, with the log of how many tokens each stands for."""
        count = min(SAMPLED_TOKENS, len(self.others))
        chosen = torch.randperm(len(self.others), generator=generator)[:count]
        tokens = torch.cat([self.held, self.others[chosen.to(self.others.device)]])
        stands_for = torch.ones(len(tokens), device=tokens.device)
        stands_for[len(self.held) :] = len(self.others) / max(count, 1)
        return tokens, stands_for.log()


def sizes_like(model: Model) -> dict[str, Any]:
    """The sizes and constants that a draft's layers share with the model, by their names."""
    own = {name: getattr(model.config, name, None) for name in SHARED_SIZES}
    width = own["head_dim"] or model.config.hidden_size // model.config.num_attention_heads
    return {k: v for k, v in own.items() if v is not None} | {"head_dim": width}


@torch.no_grad()
def begin_as(draft: Draft, model: Model) -> None:
    """Give a draft the target's last layers and final norm, as far as it has the same weights.

    What they make of a hidden state is what ``lm_head`` reads, so little is left to be learned.
    """
    theirs = [*model.decoder_layers[-len(draft.layers) :], model.norm]
    for own, other in zip([*draft.layers, draft.norm], theirs, strict=True):
        known = other.state_dict()
        for name, weight in own.state_dict().items():
            if name in known and known[name].shape == weight.shape:
                weight.copy_(known[name])
    draft.norm.weight.mul_(START_SHARPNESS)


@torch.no_grad()
def featurise(model: Model, layers: Sequence[int], texts: Sequence[WrittenAnswer]) -> Corpus:
    """Run the texts through the target for its states; what all prompts begin with, once."""
    prefix = common_prefix([np.array(t.prompt) for t in texts])
    head = torch.tensor([texts[0].prompt[:prefix]], device=model.device)
    one = model.cache(1, prefix)
    at = torch.arange(prefix, device=model.device)[None]
    _, states = model.forward(one, slice(0, 1), head, at, prefix, layers)
    saved = one.save(0, 0, prefix)
    tokens = [torch.tensor((t.prompt + t.answer)[prefix:]) for t in texts]
    features: list[Tensor] = []
    finals: list[Tensor] = []
    for first in range(0, len(tokens), FEATURE_BATCH_ROWS):
        # What follows a text's last token is never asked for.
        read = [text[:-1] for text in tokens[first : first + FEATURE_BATCH_ROWS]]
        final, joined = _read(model, layers, read, prefix, saved)
        finals += (part.clone() for part in final)
        features += (part.clone() for part in joined)
    starts = [len(t.prompt) - prefix for t in texts]
    return Corpus(torch.cat(states, -1)[0], tokens, features, finals, starts)


def _read(
    model: Model, layers: Sequence[int], texts: Sequence[Tensor], prefix: int, saved: Any
) -> tuple[Sequence[Tensor], Sequence[Tensor]]:
    """The final states and the features of texts behind a prefix that is ``saved``, [length, ...].

    They are fed as a step feeds guesses: row after row, with nothing to fill shorter ones up.
    """
    lengths = list(map(len, texts))
    places = Guesses.of([text[1:].tolist() for text in texts], model.device)
    fed, positions = torch.cat(list(texts)).to(model.device), prefix + places.offset
    length = prefix + max(lengths)
    cache, rows = model.cache(len(texts), length, saved), slice(0, len(texts))
    final, outputs = model.forward(
        cache, rows, fed[:, None], positions[:, None], length, layers, places
    )
    return final[:, 0].split(lengths), torch.cat(outputs, -1)[:, 0].split(lengths)


def train(
    model: Model,
    draft: Draft,
    corpus: Corpus,
    *,
    steps: int,
    batch: int,
    learning_rate: float,
    seed: int,
    checkpoint: Path,
) -> Iterator[float]:
    """Train the draft, yielding the loss of every step, those before an interruption included.

    ``batch`` blocks a step; AdamW, a linear rise and a cosine fall of the learning rate. Every
    step's blocks depend on the seed and the step alone, so that a run continues from its
    ``checkpoint``, which is written twice a minute, as if it had not been interrupted.
    """
    # Some of the target's hidden dimensions are a hundred times as large as others, whose weights
    # would hardly be learned: all are learned at one scale, folded into the weights at the end.
    size = _root_mean_square(torch.cat([corpus.shared, *corpus.features]))
    scaling = draft.fc.register_forward_pre_hook(lambda _, inputs: (inputs[0] / size,))
    optimiser = torch.optim.AdamW(
        draft.parameters(), lr=learning_rate, weight_decay=0.0, fused=True
    )
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimiser, _learning_rate_factor(steps))
    losses = _resume(checkpoint, draft, optimiser, scheduler)
    yield from losses
    draft.train()
    saved_at = time.monotonic()
    logits_of, vocabulary = model.logits_of_some(), Vocabulary.of(corpus, model.vocabulary)
    for step in range(len(losses), steps):
        generator = torch.Generator().manual_seed(seed + step)
        blocks = _random_blocks(corpus, draft, batch, generator)
        tokens, log_weights = vocabulary.sample(generator)
        logits_of_tokens = logits_of(tokens)
        ours, target = (
            logits_of_tokens(hidden) + log_weights
            for hidden in (_predict(model, draft, corpus, blocks), _finals(corpus, blocks))
        )
        loss = _loss(ours, target, blocks)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(draft.parameters(), MAX_GRADIENT_NORM)
        optimiser.step()
        scheduler.step()
        losses.append(loss.item())
        if time.monotonic() - saved_at >= SECONDS_BETWEEN_CHECKPOINTS:
            _save(checkpoint, losses, draft, optimiser, scheduler)
            saved_at = time.monotonic()
        yield losses[-1]
    scaling.remove()
    with torch.no_grad():
        draft.fc.weight /= size
    draft.eval()


def _root_mean_square(inputs: Tensor) -> Tensor:
    """Of each column of [tokens, in], [in]."""
    return inputs.square().mean(0).sqrt().clamp(min=MIN_INPUT_RMS)


def _loss(logits: Tensor, target: Tensor, blocks: Blocks) -> Tensor:
    """Cross-entropy to the target's distribution, with weights that fall with the offset.

    ``logits`` and ``target`` are [masked tokens that are known, tokens], block by block.
    """
    masked = _masked(blocks)
    by_offset = torch.exp(-(torch.arange(masked.shape[1]) - 1) / WEIGHT_FALL_OFFSETS).to(target)
    weights = by_offset.expand_as(masked)[masked]
    by_token = cross_entropy(logits, target.softmax(-1), reduction="none")
    return (by_token * weights).sum() / weights.sum()


def _finals(corpus: Corpus, blocks: Blocks) -> Tensor:
    """The target's states [masked tokens that are known, hidden] before each of the tokens."""
    offsets = torch.arange(blocks.tokens.shape[1], device=blocks.anchors.device)
    before = blocks.anchors[:, None] + offsets - 1
    masked = _masked(blocks)
    each = zip(blocks.sequences.tolist(), before, masked, strict=True)
    return torch.cat([corpus.finals[i][at[chosen]] for i, at, chosen in each])


def denoise(model: Model, draft: Draft, corpus: Corpus, blocks: Blocks) -> Tensor:
    """Logits [masked tokens that are known, vocabulary], block by block."""
    return model.logits(_predict(model, draft, corpus, blocks))


def _predict(model: Model, draft: Draft, corpus: Corpus, blocks: Blocks) -> Tensor:
    """What `denoise` makes logits of: [masked tokens that are known, hidden]."""
    prefix = len(corpus.shared)
    contexts, longest = _contexts(draft, corpus, blocks)
    mask = model.embed(torch.tensor(draft.architecture.mask_token, device=model.device))
    firsts = model.embed(blocks.tokens[:, 0])
    keys = range(prefix, prefix + longest)
    predicted = draft.predict(firsts, mask, prefix + blocks.anchors, contexts, keys)
    return predicted[_masked(blocks)]


def _contexts(draft: Draft, corpus: Corpus, blocks: Blocks) -> tuple[list[Context], int]:
    """By layer, what the blocks attend to: all prompts' prefix, then ``longest`` keys of each."""
    prefix, device = len(corpus.shared), corpus.shared.device
    chosen, row = blocks.sequences.unique(return_inverse=True)
    # No block sees more of its sequence than what is before it: nothing else is computed.
    seen = blocks.anchors.new_zeros(len(chosen)).scatter_reduce(0, row, blocks.anchors, "amax")
    each = list(zip(chosen.tolist(), seen.tolist(), strict=True))
    features = torch.cat([corpus.shared, *(corpus.features[i][:n] for i, n in each)])
    spans = [(0, prefix), *((prefix, prefix + n) for _, n in each)]
    at = torch.cat([torch.arange(*span, device=device) for span in spans])
    known = draft.context(features[None], at[None])[:, :, 0]
    longest = int(seen.max())
    # Behind a sequence's last token are others', which no block sees either.
    first = prefix + seen.cumsum(0) - seen
    index = first[row, None] + torch.arange(longest, device=device)
    index = index.clamp(max=len(at) - 1)
    contexts = [
        Context(
            keys[:, index].transpose(0, 1),
            values[:, index].transpose(0, 1),
            (keys[:, :prefix], values[:, :prefix]),
        )
        for keys, values in known
    ]
    return contexts, longest


@torch.no_grad()
def quality(model: Model, draft: Draft, corpus: Corpus) -> Quality:
    """Measure a draft on texts that it was not trained on."""
    width = draft.architecture.block_size
    right, asked = torch.zeros(width), torch.zeros(width)
    accepted, count = 0.0, 0
    for sequence, start in enumerate(corpus.starts):
        anchors = torch.arange(start, len(corpus.tokens[sequence]) - 1, width)
        blocks = _blocks_at(corpus, draft, torch.full_like(anchors, sequence), anchors)
        masked = _masked(blocks)
        hits = torch.zeros(masked.shape)
        predicted = denoise(model, draft, corpus, blocks).argmax(-1)
        hits[masked] = (predicted == blocks.tokens[masked]).float()
        right, asked = right + hits.sum(0), asked + masked.sum(0)
        accepted, count = accepted + hits[:, 1:].cumprod(-1).sum().item(), count + len(anchors)
    by_offset = (right / asked.clamp(min=1))[1:].tolist()
    return Quality(
        accuracy=(right.sum() / asked.sum().clamp(min=1)).item(),
        by_offset=by_offset,
        accepted=accepted / max(count, 1),
        offered=asked.sum().item() / max(count, 1),
    )


def default_feature_layers(num_layers: int, count: int = 5) -> list[int]:
    """Decoder layers spread evenly from the second to the third from last, as published drafts'."""
    last = max(1, num_layers - 3)
    return sorted({round(1 + i * (last - 1) / (count - 1)) for i in range(count)})


def _random_blocks(corpus: Corpus, draft: Draft, count: int, generator: torch.Generator) -> Blocks:
    """Anchors anywhere in the answers, but for their last tokens."""
    lengths = torch.tensor([len(t) for t in corpus.tokens])
    starts = torch.tensor(corpus.starts)
    choices = (lengths - 1 - starts).clamp(min=0)
    sequences = torch.multinomial(choices.float(), count, replacement=True, generator=generator)
    uniforms = torch.rand(count, generator=generator)
    anchors = starts[sequences] + (uniforms * choices[sequences]).long()
    return _blocks_at(corpus, draft, sequences, anchors)


def _blocks_at(corpus: Corpus, draft: Draft, sequences: Tensor, anchors: Tensor) -> Blocks:
    width = draft.architecture.block_size
    rows = [
        corpus.tokens[i][a : a + width]
        for i, a in zip(sequences.tolist(), anchors.tolist(), strict=True)
    ]
    tokens = torch.stack([pad(r, (0, width - len(r))) for r in rows])
    known = torch.arange(width) < torch.tensor([len(r) for r in rows])[:, None]
    device = corpus.shared.device
    return Blocks(*(part.to(device) for part in (sequences, anchors, tokens, known)))


def _masked(blocks: Blocks) -> Tensor:
    """The offsets [rows, block] to predict whose token is known: a block's first is given."""
    masked = blocks.known.clone()
    masked[:, 0] = False
    return masked


def _learning_rate_factor(steps: int) -> Callable[[int], float]:
    warm = max(1, int(WARM_UP_SHARE * steps))

    def rate(step: int) -> float:
        if step < warm:
            return (step + 1) / warm
        return 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))

    return rate


def _save(path: Path, losses: list[float], draft: Draft, *rest: Any) -> None:
    part = path.with_suffix(".part")
    state = {"losses": losses, "draft": draft.state_dict(), "rest": [r.state_dict() for r in rest]}
    torch.save(state, part)
    part.replace(path)


def _resume(path: Path, draft: Draft, *rest: Any) -> list[float]:
    """Load a checkpoint, if there is one; the losses of the steps that it has behind it."""
    if not path.exists():
        return []
    state = torch.load(path, weights_only=True)
    draft.load_state_dict(state["draft"])
    for part, saved in zip(rest, state["rest"], strict=True):
        part.load_state_dict(saved)
    losses: list[float] = state["losses"]
    return losses
