"""Laws of the next token: from logits to a drawn token and what it was worth.

A law is a function ``(logits, uniforms, current) -> Draw`` over a batch of rows. These know no
cache, no chain and no model. Logits come in float32 or wider; they are never cut to a top-k or a
nucleus, so every law has the full vocabulary as its support.
"""

import math
from typing import Literal, NamedTuple

import torch
from torch import Tensor

BLOCK = 256
"""Tokens per block of the two-level inverse CDF."""

CACHED = 2**18
"""Numbers to work on at once on the CPU: passes over more go through memory, and allocate it."""

NEGLIGIBLE = -87.0
"""Log of a weight, relative to the largest, that counts as nothing."""

NOTHING = -1
"""In ``current``: this row holds no token at this position that its draw could stay on."""


class Logits(NamedTuple):
    """Next-token logits [rows, vocabulary]: the base model's and the (perhaps blended) target's.

    Without a blend both are the same tensor.
    """

    base: Tensor
    target: Tensor


class Draw(NamedTuple):
    """A drawn token and its worth; all are [rows]. The columns are those of `chain.Trace`."""

    token: Tensor
    log_p: Tensor
    log_q: Tensor
    w: Tensor


def greedy(logits: Logits) -> Draw:
    """The target's most likely token. ``log_q`` is 0 and ``w`` is log p of the target."""
    token = logits.target.argmax(-1)
    log_p, w = _log_probs(logits, token)
    return Draw(token, log_p, torch.zeros_like(w), w)


def temperature(logits: Logits, uniforms: Tensor, current: Tensor, temperature: float) -> Draw:
    """A token from softmax(z / T) of the target, which is proposal and target at once: w = 0."""
    token, log_q = inverse_cdf(logits.target, 1.0 / temperature, uniforms, current)
    log_p = _at(logits.base, token) - _log_normaliser(logits.base)
    return Draw(token, log_p, log_q, torch.zeros_like(log_q))


def power(
    logits: Logits,
    uniforms: Tensor,
    current: Tensor,
    alpha: float,
    proposal: Literal["base", "target"],
) -> Draw:
    """A token from q = softmax(alpha z) with t = p^alpha of the target as its weight.

    With proposal and target from the same logits, w = log t - log q = log sum_v p(v)^alpha: it does
    not depend on the token drawn and is never positive (powers of a distribution, alpha >= 1).
    """
    source = logits.target if proposal == "target" else logits.base
    token, log_q = inverse_cdf(source, alpha, uniforms, current)
    log_p, log_target = _log_probs(logits, token)
    w = alpha * log_target - log_q
    # Rounding must not make positive what is never positive: early rejection relies on it.
    return Draw(token, log_p, log_q, w.clamp(max=0) if source is logits.target else w)


def inverse_cdf(
    logits: Tensor, alpha: float, uniforms: Tensor, current: Tensor
) -> tuple[Tensor, Tensor]:
    """Draw from softmax(alpha z) by inverse CDF, one uniform a row.

    The token in ``current`` is first in the order of the CDF, the others follow by id: it is drawn
    exactly when the uniform is below its probability. The cumulative sums are two-level (blocks,
    then within the chosen block) and in float64, so that a vocabulary of 150,000 costs no accuracy.

    Parameters
    ----------
    logits
        [rows, vocabulary], finite.
    alpha
        Inverse temperature.
    uniforms
        [rows] float64 in [0, 1).
    current
        [rows] token ids, or `NOTHING`.

    Returns
    -------
    The tokens [rows] and their log-probabilities [rows] under softmax(alpha z).
    """
    peak = torch.cat([part.amax(-1, keepdim=True) for part in _parts(logits)])
    anchor, anchored = current.clamp(min=0)[:, None], (current >= 0)[:, None]

    def without_anchor(block: Tensor) -> Tensor:
        """Weights [rows, BLOCK] of the tokens in a block each, the anchor's set to nothing."""
        tokens = block * BLOCK + torch.arange(BLOCK, device=block.device)
        there = (tokens < logits.shape[-1]) & ~(anchored & (tokens == anchor))
        weights = _weights(logits.gather(1, tokens.clamp(max=logits.shape[-1] - 1)), peak, alpha)
        return (weights * there).double()

    held = _weights(logits.gather(1, anchor), peak, alpha).double() * anchored
    by_block = _block_sums(logits, peak, alpha).double()
    own = anchor // BLOCK
    by_block = by_block.scatter(1, own, without_anchor(own).sum(-1, keepdim=True)).cumsum(-1)
    total = held + by_block[:, -1:]
    mass = uniforms[:, None] * total - held
    stays = mass < 0
    block, mass = _first_above(by_block, mass)
    offset, _ = _first_above(without_anchor(block).cumsum(-1), mass)
    token = torch.where(stays, anchor, block * BLOCK + offset)
    score = _scores(logits.gather(1, token), peak, alpha)
    return token.squeeze(1), (score - total.log().to(score.dtype)).squeeze(1)


def _scores(logits: Tensor, peak: Tensor, alpha: float) -> Tensor:
    """Alpha z relative to its largest; exp of less than `NEGLIGIBLE` is slow, and nothing."""
    return (logits - peak).mul_(alpha).clamp_(min=NEGLIGIBLE)


def _weights(logits: Tensor, peak: Tensor, alpha: float) -> Tensor:
    """exp(alpha z) relative to the largest, 0 where that is less than any uniform can tell."""
    return torch.threshold_(_scores(logits, peak, alpha).exp_(), 1.1 * math.exp(NEGLIGIBLE), 0.0)


def _block_sums(logits: Tensor, peak: Tensor, alpha: float) -> Tensor:
    """Sums [rows, blocks] of the weights of `BLOCK` tokens each."""
    sums = []
    parts = _parts(logits)
    for part, its_peak in zip(parts, peak.split([len(p) for p in parts]), strict=True):
        weights = _weights(part, its_peak, alpha)
        if weights.shape[-1] % BLOCK:
            weights = torch.nn.functional.pad(weights, (0, -weights.shape[-1] % BLOCK))
        sums.append(weights.view(len(weights), -1, BLOCK).sum(-1))
    return torch.cat(sums)


def _log_normaliser(logits: Tensor) -> Tensor:
    """Log of the sum [rows] of exp(z)."""
    return torch.cat([part.logsumexp(-1) for part in _parts(logits)])


def _parts(logits: Tensor) -> tuple[Tensor, ...]:
    """Rows that fit a processor's own cache together; on a GPU, all of them."""
    rows = len(logits) if logits.is_cuda else max(1, CACHED // logits.shape[-1])
    return logits.split(rows)


def _first_above(cumulative: Tensor, mass: Tensor) -> tuple[Tensor, Tensor]:
    """Index [rows, 1] of the first entry above the mass, and the mass left when it is reached.

    The mass is kept below the last entry, whatever the rounding, so that an entry that adds nothing
    is never chosen.
    """
    last = cumulative[:, -1:]
    mass = torch.minimum(mass, torch.nextafter(last, torch.zeros_like(last))).clamp(min=0)
    index = (cumulative <= mass).sum(-1, keepdim=True).clamp(max=cumulative.shape[-1] - 1)
    before = torch.where(index > 0, cumulative.gather(1, (index - 1).clamp(min=0)), 0.0)
    return index, mass - before


def _log_probs(logits: Logits, token: Tensor) -> tuple[Tensor, Tensor]:
    """Log-probability of the tokens under the base model and under the target."""
    log_p = _at(logits.base, token) - _log_normaliser(logits.base)
    if logits.target is logits.base:
        return log_p, log_p
    return log_p, _at(logits.target, token) - _log_normaliser(logits.target)


def _at(logits: Tensor, token: Tensor) -> Tensor:
    return logits.gather(1, token[:, None]).squeeze(1)
