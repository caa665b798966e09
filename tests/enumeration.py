"""The truth by enumeration: every string, its log target, and where a chain is after its moves.

Slow, and written from the mathematics alone. Nothing is taken from the engine: logits come from
full forward passes of the transformers model (or from a table), distributions from products over
strings.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import chisquare

String = tuple[int, ...]
Floats = NDArray[np.float64]
Logits = Callable[[Sequence[String]], tuple[Floats, Floats]]
"""Strings -> base and guided logits [strings, longest, vocabulary], each before its token."""

Ends = Callable[[String], bool]
"""Whether a string has ended of which no proper part has."""


def at_eos(eos: int) -> Ends:
    """That it ends with EOS, and nothing else, ends a string."""
    return lambda string: string[-1] == eos


def ended_or_full(vocabulary: int, ends: Ends, cap: int) -> list[String]:
    """The states of a stage: strings that have ended, and those of ``cap`` tokens that have not."""
    states: list[String] = []
    open_: list[String] = [()]
    for _ in range(cap):
        longer = [(*s, v) for s in open_ for v in range(vocabulary)]
        states += [s for s in longer if ends(s)]
        open_ = [s for s in longer if not ends(s)]
    return states + open_


def transformer_logits(
    hf: Any, prompt: Sequence[int], blend: Mapping[str, Any] | None = None
) -> Logits:
    """Logits by full forward passes, with the blend folded into the hidden state."""

    @torch.no_grad()
    def logits(strings: Sequence[String]) -> tuple[Floats, Floats]:
        longest = max(map(len, strings))
        padded = [[*prompt, *s, *[0] * (longest - len(s))] for s in strings]
        out = hf(torch.tensor(padded), output_hidden_states=True, use_cache=False)
        head = hf.get_output_embeddings()
        final = guided = out.hidden_states[-1]
        if blend is not None:
            if blend.get("source") == "random":
                inner = final @ rotation(final.shape[-1], final.dtype).T
            elif blend.get("source") == "uniform":
                inner = 0 * final
            else:
                inner = out.hidden_states[blend["layer"] + 1]
            if blend.get("norm", "none") == "final":
                inner = hf.base_model.norm(inner)
            guided = (1 - blend["beta"]) * final + blend["beta"] * inner
        first = len(prompt) - 1
        return tuple(head(h)[:, first : first + longest].numpy() for h in (final, guided))

    return logits


def own_logits(hf: Any, prompt: Sequence[int]) -> Logits:
    """Logits as a model's authors make them, scaled and capped."""

    @torch.no_grad()
    def logits(strings: Sequence[String]) -> tuple[Floats, Floats]:
        longest = max(map(len, strings))
        padded = [[*prompt, *s, *[0] * (longest - len(s))] for s in strings]
        out = hf(torch.tensor(padded), use_cache=False).logits.double()
        own = out[:, len(prompt) - 1 : len(prompt) - 1 + longest].numpy()
        return own, own

    return logits


def rotation(width: int, dtype: torch.dtype, seed: int = 0) -> torch.Tensor:
    """What a random blend turns hidden states with, as a matrix."""
    bits = np.random.Philox(key=seed).random_raw(2 * width)
    matrix = np.zeros((width, width))
    negative = bits[width:] >= 2**63
    matrix[np.arange(width), np.argsort(bits[:width])] = np.where(negative, -1.0, 1.0)
    return torch.tensor(matrix, dtype=dtype)


def draft_logits(hf: Any, prompt: Sequence[int], reference: Any, beta: float) -> Logits:
    """Logits with those of a draft blended in, string by string and block by block.

    ``reference`` is transformers' own DFlash network. Each block sees the target's features of
    everything before it, from a full forward pass, and begins with its own first token.
    """
    config = reference.config
    width, feature_layers = config.block_size, config.target_layer_ids
    base_logits = transformer_logits(hf, prompt)

    @torch.no_grad()
    def said(string: String) -> Floats:
        tokens = torch.tensor([[*prompt, *string]])
        states = hf(tokens, output_hidden_states=True, use_cache=False).hidden_states
        features = torch.cat([states[layer + 1] for layer in feature_layers], -1)
        embed, rows = hf.get_input_embeddings(), []
        for first in range(0, len(string), width):
            block = torch.tensor([[string[first], *[config.mask_token_id] * (width - 1)]])
            before = features[:, : len(prompt) + first]
            rows.append(reference(embed(block), before).last_hidden_state[0])
        return hf.get_output_embeddings()(torch.cat(rows))[: len(string)].numpy()

    def logits(strings: Sequence[String]) -> tuple[Floats, Floats]:
        base, guided = (z.copy() for z in base_logits(strings))
        for i, string in enumerate(strings):
            offsets = np.arange(len(string)) % width
            mixed = (1 - beta) * base[i, : len(string)] + beta * said(string)
            guided[i, : len(string)] = np.where(
                offsets[:, None] == 0, base[i, : len(string)], mixed
            )
        return base, guided

    return logits


def log_softmax(z: Floats) -> Floats:
    z = z - z.max(-1, keepdims=True)
    return z - np.log(np.exp(z).sum(-1, keepdims=True))


@dataclass
class Space:
    """Strings with what each of their tokens is worth; the arrays are [strings, longest].

    ``strings`` holds every string of up to ``cap`` tokens that end nowhere before their last
    token: the states of all stages, and those that only the published kernel wanders into.
    """

    strings: list[String]
    ends: Ends
    log_p: Floats
    log_t: Floats
    log_q: Floats

    @cached_property
    def lengths(self) -> NDArray[np.int64]:
        return np.array([len(s) for s in self.strings])

    @cached_property
    def ended(self) -> NDArray[np.bool_]:
        return np.array([self.ends(s) for s in self.strings])

    @cached_property
    def shared(self) -> NDArray[np.int64]:
        """Length of the common prefix of each two strings, [strings, strings]."""
        n, longest = len(self.strings), int(self.lengths.max())
        padded = np.array(
            [[*s, *[-1 - i] * (longest - len(s))] for i, s in enumerate(self.strings)]
        )
        same = padded[:, None] == padded[None]
        same[np.arange(n), np.arange(n)] = np.arange(longest) < self.lengths[:, None]
        return same.cumprod(-1).sum(-1)

    def states(self, cap: int) -> NDArray[np.bool_]:
        """Which strings are states of the stage with this cap."""
        return (self.lengths <= cap) & (self.ended | (self.lengths == cap))

    def target(self, cap: int) -> Floats:
        """The distribution that the moves of the stage with this cap leave unchanged."""
        log_t = np.where(self.states(cap), self.log_t.sum(1), -np.inf)
        weights: Floats = np.exp(log_t - log_t.max())
        return weights / weights.sum()

    def extension(self, caps: NDArray[np.int64]) -> Floats:
        """Transitions [from, to] of drawing from q until EOS or, from string i, caps[i] tokens."""
        inside = (self.lengths <= caps[:, None]) & (self.ended | (self.lengths == caps[:, None]))
        grown = inside & (self.shared == self.lengths[:, None]) & ~self.ended[:, None]
        start = np.minimum(self.lengths, self.log_q.shape[1])
        moves = np.where(grown, np.exp(self._suffix_q(start)), 0.0)
        stays = self.ended | (self.lengths >= caps)
        moves[stays] = np.eye(len(self.strings))[stays]
        return moves

    def first(self, cap: int) -> Floats:
        """The distribution of drawing from q, from nothing, until EOS or ``cap`` tokens."""
        return np.where(self.states(cap), np.exp(self.log_q.sum(1)), 0.0)

    def kernel(self, cap: int, mh: str = "exact") -> Floats:
        """Transition probabilities [from, to] of one move."""
        n = len(self.strings)
        caps = np.full(n, cap) if mh == "exact" else self.lengths
        reach = (self.lengths <= caps[:, None]) & (self.ended | (self.lengths == caps[:, None]))
        transitions = np.zeros((n, n))
        for cut in range(cap):
            share = np.where(self.lengths > cut, 1 / self.lengths, 0.0)[:, None]
            possible = reach & (self.shared >= cut) & (self.lengths > cut)
            q = np.where(possible, np.exp(self._suffix_q(np.full(n, cut))), 0.0)
            transitions += share * q * np.exp(np.minimum(0.0, self._log_ratio(cut, mh)))
        return transitions + np.diag(1 - transitions.sum(1))

    def _suffix_q(self, start: NDArray[np.int64]) -> Floats:
        """Log q [from, to] of the tokens of ``to`` that come at start[from] and later."""
        after = np.arange(self.log_q.shape[1]) >= start[:, None]
        result: Floats = after.astype(float) @ self.log_q.T
        return result

    def _log_ratio(self, cut: int, mh: str) -> Floats:
        suffix_t, suffix_q = self.log_t[:, cut:].sum(1), self.log_q[:, cut:].sum(1)
        if mh == "exact":
            forward = suffix_t - suffix_q - np.log(self.lengths)
            return forward[None] - forward[:, None]
        w = (self.log_t - self.log_q)[:, cut:]
        short = np.array([w[:, : max(0, n - cut)].sum(1) for n in self.lengths])  # [to, from]
        return (suffix_t - suffix_q)[None] - short.T


def enumerate_space(
    logits: Logits, vocabulary: int, ends: Ends | int, alpha: float, proposal: str, cap: int
) -> Space:
    """Every string of up to ``cap`` tokens, with p, t = p_guided^alpha and q for each token.

    ``ends`` is what ends a string, or its EOS token.
    """
    ends = at_eos(ends) if isinstance(ends, int) else ends
    unique = {s[:k] for s in ended_or_full(vocabulary, ends, cap) for k in range(1, len(s) + 1)}
    strings = sorted(unique)
    base, guided = logits(strings)
    source = guided if proposal == "target" else base
    drawn = np.array([[*s, *[0] * (cap - len(s))] for s in strings])[..., None]
    real = np.arange(cap) < np.array([len(s) for s in strings])[:, None]

    def worth(log_probs: Floats) -> Floats:
        return np.where(real, np.take_along_axis(log_probs, drawn, -1)[..., 0], 0.0)

    log_q = worth(log_softmax(alpha * source))
    return Space(strings, ends, worth(log_softmax(base)), alpha * worth(log_softmax(guided)), log_q)


def distribution_of(
    space: Space, max_new_tokens: int, blocks: int, steps: int, mh: str = "exact"
) -> Floats:
    """The exact distribution of the final string after all stages and moves."""
    block = max_new_tokens // blocks
    current, stopped = space.first(block), np.zeros(len(space.strings))
    for stage in range(1, blocks + 1):
        cap = stage * block
        if stage > 1:
            caps = np.full(len(space.strings), cap)
            if mh == "published":
                caps = np.minimum(space.lengths + block, max_new_tokens)
            current = current @ space.extension(caps)
        current = current @ np.linalg.matrix_power(space.kernel(cap, mh), steps)
        if mh == "published":
            stopped, current = stopped + current * space.ended, current * ~space.ended
    return stopped + current


def total_variation(a: Floats, b: Floats) -> float:
    return float(np.abs(a - b).sum() / 2)


def chi_squared(counts: Sequence[int] | NDArray[np.int64], distribution: Floats) -> float:
    """p-value of counts; strings that are expected fewer than 5 times count as one."""
    observed = np.asarray(counts)
    if observed[distribution == 0].any():
        return 0.0
    expected = distribution / distribution.sum() * observed.sum()
    order = np.argsort(expected)
    observed, expected = observed[order], expected[order]
    # The pool takes in the smallest cells until it is large enough itself.
    pooled = max(int((expected < 5).sum()), int((expected.cumsum() < 5).sum()) + 1)
    starts = [0, *range(pooled, len(expected))]
    cells, means = np.add.reduceat(observed, starts), np.add.reduceat(expected, starts)
    return float(chisquare(cells, means).pvalue) if len(cells) > 1 else 1.0
