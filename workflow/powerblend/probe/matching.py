"""The beta at which a blend moves the model's distribution, or widens its logits, as asked."""

import logging
import math
from collections.abc import Callable
from typing import Literal

import numpy as np
from scipy.optimize import brentq, minimize_scalar

from powerblend.blends import Blend, UniformBlend
from powerblend.engine.model import Model
from powerblend.probe.hidden_states import Reading
from powerblend.probe.measures import measure

log = logging.getLogger(__name__)

FIRST_BETA = 0.05
MIN_BETA = 1e-9
LOG_BETA_TOLERANCE = 1e-5
"""Absolute, of the log of the beta found."""

MEASURED_BETA = 0.1
"""Where a token's scale is measured, beside beta 1: at small betas little is lost of a wide one."""

Measure = Literal["kl", "scale"]
"""What is matched: a mean per token, of the KL in nats or of the scale of the logits."""


def matched_beta(model: Model, reading: Reading, blend: Blend, kl: float) -> float:
    """The positive beta with mean KL(p || p_guided) ``kl``, to four significant digits.

    log E_p[exp(beta d)] - beta E_p[d], d the difference of the logits, is each token's KL: convex
    in beta and 0 at 0, so it rises with beta and there is one solution. Each evaluation goes over
    the tokens once. Of the uniform distribution it is the negative beta, which sharpens as an
    exponent does, and whose KL has a bound only where the likeliest token is certain.

    Raises
    ------
    ValueError
        If not even the source alone (beta 1) is that far from the model.
    """
    sign, largest = (-1, math.log(1e6)) if isinstance(blend, UniformBlend) else (1, 0.0)
    excess = _excess(model, reading, blend, kl, sign)
    if excess(largest) < 0:
        raise ValueError(
            f"match_kl is {kl:g}, but the KL of {blend.model_dump(exclude={'beta'})} is only "
            f"{kl * math.exp(excess(largest)):.3g} even at beta {sign * math.exp(largest):g}: ask "
            "for less, or of another layer"
        )
    low = math.log(FIRST_BETA)
    while excess(low) > 0:
        if low < math.log(MIN_BETA):
            raise ValueError(f"match_kl is {kl:g}: no beta above {MIN_BETA:g} has so small a KL")
        low -= math.log(4)
    high = min(largest, low + math.log(4))
    while excess(high) < 0:
        high = min(largest, high + math.log(4))
    return sign * _rounded(math.exp(brentq(excess, low, high, xtol=LOG_BETA_TOLERANCE)))


def scaled_beta(model: Model, reading: Reading, blend: Blend, scale: float) -> float:
    """The beta nearest to 0, of either sign, at which logits have this mean scale.

    Relative to the model's, token by token; to four significant digits. The square of a token's
    scale is a quadratic of beta, so measuring it twice tells it at every beta. The mean over tokens
    is convex in beta, and 1 at 0.

    Raises
    ------
    ValueError
        If no beta other than 0 has it.
    """
    mean = _mean_scale(model, reading, blend)
    lowest = minimize_scalar(mean)
    # Within rounding of 1 only beta 0 is nearest; lower than at the minimum is none.
    if mean(lowest.x) > scale or abs(scale - 1) < 1e-6:
        raise ValueError(
            f"match_scale is {scale:g}, but the scale of {blend.model_dump(exclude={'beta'})} is "
            f"1 at beta 0, and {mean(lowest.x):.3g} at the least: ask for another"
        )
    if scale < 1:
        return _rounded(brentq(lambda beta: mean(beta) - scale, 0.0, lowest.x))
    return min((_outwards(mean, scale, sign) for sign in (1, -1)), key=abs)


def mean_of(what: Measure, model: Model, reading: Reading, blend: Blend) -> float:
    """Mean per token of the sample: KL(p || p_guided) in nats, or the scale of the logits."""
    _, scores = measure(model, reading, [blend])
    return float(getattr(scores, what)[reading.sampled].double().mean())


def _excess(
    model: Model, reading: Reading, blend: Blend, kl: float, sign: int
) -> Callable[[float], float]:
    """Log of the KL at sign exp(x), relative to the one asked for: nearly a line of slope 2."""
    known: dict[float, float] = {}

    def excess(x: float) -> float:
        if x not in known:
            beta = sign * math.exp(x)
            found = mean_of("kl", model, reading, blend.model_copy(update={"beta": beta}))
            log.info("beta %.5g: KL %.5g", beta, found)
            known[x] = math.log(max(found, 1e-300) / kl)
        return known[x]

    return excess


def _mean_scale(model: Model, reading: Reading, blend: Blend) -> Callable[[float], float]:
    """The mean scale at a beta: that of (1 - beta) a + beta b, a and b the centred logits."""
    betas = (MEASURED_BETA, 1.0)
    blends = [blend.model_copy(update={"beta": beta}) for beta in betas]
    _, *measured = measure(model, reading, blends)
    near, alone = (scores.scale[reading.sampled].numpy() ** 2 for scores in measured)
    weight = 1 - MEASURED_BETA
    own = weight**2 + MEASURED_BETA**2 * alone
    product = (near - own) / (2 * weight * MEASURED_BETA)

    def mean(beta: float) -> float:
        squares = (1 - beta) ** 2 + 2 * beta * (1 - beta) * product + beta**2 * alone
        return float(np.sqrt(np.maximum(squares, 0)).mean())

    return mean


def _outwards(mean: Callable[[float], float], scale: float, sign: int) -> float:
    """The one beta of a sign at which a scale above 1 is reached."""
    end = sign * FIRST_BETA
    while mean(end) < scale:
        end *= 2
    return _rounded(brentq(lambda beta: mean(beta) - scale, 0.0, end))


def _rounded(beta: float) -> float:
    return float(f"{beta:.4g}")
