"""Distributions of the next token: from logits to a drawn token and its log weight.

Each is a function ``(logits, uniforms, current) -> Draw`` over a batch of rows. They know no
cache, no chain and no model. Logits come in float32 or wider; they are never cut to a top-k or a
nucleus, so every distribution has the full vocabulary as its support.
"""

import math
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from powerblend.engine.compiled_sums import block_sums, sums_blocks
from powerblend.engine.strings import ENTROPY_FLOOR

CDF_BLOCK = 256
"""Tokens per block of the two-level inverse CDF."""

NUMBERS_IN_CPU_CACHE = 2**17
"""Numbers to work on at once on the CPU: passes over more go through memory, and allocate it."""

MIN_LOG_SHARE = -87.0
"""Log of a probability relative to the largest, below which it counts as 0."""

NO_TOKEN = -1
"""In ``current``: this row holds no token at this position that its draw could stay on."""


class Logits(NamedTuple):
    """Next-token logits [rows, vocabulary]: the base model's and the (perhaps blended) target's.

    Without a blend both are the same tensor.
    """

    base: Tensor
    target: Tensor


class Draw(NamedTuple):
    """A drawn token and its log-probabilities, all [rows]: the arrays of `strings.Trace`.

    ``columns`` [rows, columns], in float64, are those of `strings`, and ``cut_weight`` is h of the
    position, where the sampler needs them.
    """

    token: Tensor
    log_p: Tensor
    log_q: Tensor
    log_weight: Tensor
    columns: Tensor | None = None
    cut_weight: Tensor | None = None


def greedy(logits: Logits) -> Draw:
    """The target's most likely token. ``log_q`` is 0, the log weight log p of the target."""
    token = logits.target.argmax(-1)
    log_weight = _log_prob(logits.target, token)
    log_p = log_weight if logits.base is logits.target else _log_prob(logits.base, token)
    return Draw(token, log_p, torch.zeros_like(log_weight), log_weight)


def temperature(logits: Logits, uniforms: Tensor, current: Tensor, temperature: float) -> Draw:
    """A token from softmax(z / T) of the target, proposal and target at once: log weight 0."""
    token, log_q, log_p = inverse_cdf(logits.target, 1.0 / temperature, uniforms, current)
    if logits.base is not logits.target:
        log_p = _log_prob(logits.base, token)
    return Draw(token, log_p, log_q, torch.zeros_like(log_q))


def power(
    logits: Logits,
    uniforms: Tensor,
    current: Tensor,
    alpha: float,
    proposal: Literal["base", "target"],
) -> Draw:
    """A token from q = softmax(alpha z) with t = p^alpha of the target as its weight.

    With proposal and target from the same logits, the log weight log t - log q is
    log sum_v p(v)^alpha: it does not depend on the token drawn and is never positive (powers of a
    distribution, alpha >= 1).
    """
    source = logits.target if proposal == "target" else logits.base
    token, log_q, own = inverse_cdf(source, alpha, uniforms, current)
    log_p, log_target = (own if z is source else _log_prob(z, token) for z in logits)
    log_weight = alpha * log_target - log_q
    # Rounding must not make positive what is never positive: early rejection relies on it.
    if source is logits.target:
        log_weight = log_weight.clamp(max=0)
    return Draw(token, log_p, log_q, log_weight)


def powers(
    logits: Logits,
    uniforms: Tensor,
    current: Tensor,
    rung: Tensor,
    exponents: tuple[float, ...],
    proposal: Literal["base", "target"],
    cut_power: float | None,
) -> Draw:
    """A token as `power` draws it, each row's at the exponent with the number ``rung`` [rows].

    What the token is worth at the others comes from the same pass over the logits: its columns are
    those of `strings`, with entropies where ``cut_power`` needs them.
    """
    source = logits.target if proposal == "target" else logits.base
    sums = _sums(source, exponents, entropies=cut_power is not None)
    row = torch.arange(len(rung), device=rung.device)
    # Constants are written into the operations: a recorded step can copy nothing from the host.
    own = torch.full_like(sums.peak, exponents[0])
    for number, exponent in enumerate(exponents[1:], start=1):
        own = torch.where(rung[:, None] == number, exponent, own)
    token, _, log_s = _choose(source, own, sums, sums.by_block[row, rung], uniforms, current)
    others = (log_s if z is source else _log_prob(z, token) for z in logits)
    log_p, log_g, log_s = (column.double() for column in (*others, log_s))
    alpha, log_norms = own.squeeze(1).double(), sums.log_norms(exponents)
    log_norm = log_norms[row, rung]
    log_weight = alpha * (log_g - log_s) + log_norm
    if source is logits.target:
        log_weight = log_weight.clamp(max=0)
    columns = [log_g[:, None], log_s[:, None], log_norms]
    cut_weight = None
    if cut_power is not None:
        entropies = sums.entropies(exponents)
        columns.append(entropies)
        cut_weight = (entropies[row, rung] + ENTROPY_FLOOR) ** cut_power
    log_q = alpha * log_s - log_norm
    return Draw(token, log_p, log_q, log_weight, torch.cat(columns, -1), cut_weight)


def measured(draw: Draw, logits: Logits) -> Draw:
    """The same draw with two columns more: how sure the base model p was of its next token.

    They are p's entropy, and KL(uniform || p), both in nats: the mean of the latter over an answer
    is its self-certainty (Kang, Zhao & Song, arXiv 2502.18581).
    """
    log_probs = logits.base.log_softmax(-1)
    entropy = -(log_probs.exp() * log_probs).sum(-1)
    certainty = -log_probs.mean(-1) - math.log(log_probs.shape[-1])
    sure = torch.stack([entropy, certainty], -1).double()
    columns = sure if draw.columns is None else torch.cat([draw.columns, sure], -1)
    return draw._replace(columns=columns)


class Choice(NamedTuple):
    """A drawn token and its log-probabilities under softmax(alpha z) and softmax(z); [rows]."""

    token: Tensor
    log_q: Tensor
    log_p: Tensor


def inverse_cdf(logits: Tensor, alpha: float, uniforms: Tensor, current: Tensor) -> Choice:
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
        [rows] token ids, or `NO_TOKEN`.
    """
    sums = _sums(logits, (alpha,))
    return _choose(logits, alpha, sums, sums.by_block[:, 0], uniforms, current)


class Sums(NamedTuple):
    """What draws need to know of all logits, from one pass over them.

    ``peak`` [rows, 1] is the largest, ``normaliser`` [rows, 1] the sum of exp(z) relative to it,
    ``by_block`` [rows, exponents, blocks] the sums of exp(alpha z) by `CDF_BLOCK` tokens in
    float64. ``moments`` [rows, exponents] are the sums of z exp(alpha z), z relative to the peak;
    [rows, 0] where nobody asks for them.
    """

    peak: Tensor
    normaliser: Tensor
    by_block: Tensor
    moments: Tensor

    def log_norms(self, exponents: tuple[float, ...]) -> Tensor:
        """Z(a) = log sum_v p(v)^a [rows, exponents], in float64."""
        log_totals, log_normaliser = self.by_block.sum(-1).log(), self.normaliser.double().log()
        norms = [log_totals[:, k] - a * log_normaliser[:, 0] for k, a in enumerate(exponents)]
        return torch.stack(norms, -1)

    def entropies(self, exponents: tuple[float, ...]) -> Tensor:
        """Of softmax(a z), in nats, [rows, exponents] in float64."""
        totals = self.by_block.sum(-1)
        means = self.moments / totals
        entropies = [totals[:, k].log() - a * means[:, k] for k, a in enumerate(exponents)]
        return torch.stack(entropies, -1).clamp(min=0)


def _choose(
    logits: Tensor,
    alpha: float | Tensor,
    sums: Sums,
    by_block: Tensor,
    uniforms: Tensor,
    current: Tensor,
) -> Choice:
    """The token that `inverse_cdf` draws; ``alpha`` may be [rows, 1], with its ``by_block``."""
    peak, normaliser = sums.peak, sums.normaliser
    anchor, anchored = current.clamp(min=0)[:, None], (current >= 0)[:, None]

    def without_anchor(block: Tensor) -> Tensor:
        """Weights [rows, CDF_BLOCK] of the tokens in a block each, the anchor's set to nothing."""
        tokens = block * CDF_BLOCK + torch.arange(CDF_BLOCK, device=block.device)
        there = (tokens < logits.shape[-1]) & ~(anchored & (tokens == anchor))
        scores = logits.gather(1, tokens.clamp(max=logits.shape[-1] - 1)) - peak
        return (_weights(scores, alpha)[1] * there).double()

    held = _weights(logits.gather(1, anchor) - peak, alpha)[1].double() * anchored
    own = anchor // CDF_BLOCK
    by_block = by_block.scatter(1, own, without_anchor(own).sum(-1, keepdim=True)).cumsum(-1)
    total = held + by_block[:, -1:]
    mass = uniforms[:, None] * total - held
    stays = mass < 0
    block, mass = _first_above(by_block, mass)
    offset, _ = _first_above(without_anchor(block).cumsum(-1), mass)
    token = torch.where(stays, anchor, block * CDF_BLOCK + offset)
    score = logits.gather(1, token) - peak
    log_q, log_p = alpha * score - total.log().to(score.dtype), score - normaliser.log()
    return Choice(token.squeeze(1), log_q.squeeze(1), log_p.squeeze(1))


def _sums(logits: Tensor, exponents: tuple[float, ...], entropies: bool = False) -> Sums:
    """What draws at some exponents need to know of all logits."""
    if len(exponents) == 1 and not entropies and sums_blocks(logits, CDF_BLOCK):
        peak, normaliser, of_blocks = block_sums(logits, *exponents, CDF_BLOCK)
        return Sums(peak, normaliser, of_blocks[:, None].double(), logits.new_empty(len(logits), 0))
    parts = []
    for part in _parts(logits):
        peak = part.amax(-1, keepdim=True)
        scores, by_block, moments = part - peak, [], []
        for number, alpha in enumerate(exponents):
            # The last exponent may overwrite the scores.
            kept = scores.clone() if entropies or number + 1 < len(exponents) else scores
            shares, weights = _weights(kept, alpha)
            by_block.append(_by_block(weights))
            if entropies:
                moments.append((weights * scores).double().sum(-1))
        nothing = part.new_empty(len(part), 0)
        parts.append(
            (
                peak,
                shares.sum(-1, keepdim=True),
                torch.stack(by_block, 1).double(),
                torch.stack(moments, 1) if moments else nothing,
            )
        )
    return Sums(*(torch.cat(column) for column in zip(*parts, strict=True)))


def _by_block(weights: Tensor) -> Tensor:
    """Sums [rows, blocks] of `CDF_BLOCK` tokens each, the last of what is left."""
    whole = weights.shape[-1] // CDF_BLOCK * CDF_BLOCK
    blocks = [weights[:, :whole].unflatten(-1, (whole // CDF_BLOCK, CDF_BLOCK)).sum(-1)]
    if whole < weights.shape[-1]:
        blocks.append(weights[:, whole:].sum(-1, keepdim=True))
    return torch.cat(blocks, -1)


def _weights(scores: Tensor, alpha: float | Tensor) -> tuple[Tensor, Tensor]:
    """exp(z) and exp(alpha z) of logits relative to the largest, which are overwritten.

    A power of two as alpha is reached by squaring, which is faster than another exp. Of less than
    `MIN_LOG_SHARE`, exp is slow, and nothing that a uniform could tell from 0.
    """
    squarings = -1.0 if isinstance(alpha, Tensor) else math.log2(alpha)
    if squarings >= 0 and squarings.is_integer():
        shares = weights = scores.exp_()
        for _ in range(int(squarings)):
            weights = weights.square() if weights is shares else weights.square_()
        return shares, weights
    weights = (scores * alpha).clamp_(min=MIN_LOG_SHARE).exp_()
    return scores.exp_(), torch.threshold_(weights, 1.1 * math.exp(MIN_LOG_SHARE), 0.0)


def _log_prob(logits: Tensor, token: Tensor) -> Tensor:
    """Log-probability [rows] of the tokens under softmax(z)."""
    normaliser = torch.cat([part.logsumexp(-1) for part in _parts(logits)])
    return logits.gather(1, token[:, None]).squeeze(1) - normaliser


def _parts(logits: Tensor) -> tuple[Tensor, ...]:
    """Rows that fit a processor's own cache together; on a GPU, all of them."""
    rows = len(logits) if logits.is_cuda else max(1, NUMBERS_IN_CPU_CACHE // logits.shape[-1])
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
