"""The beta at which a blend moves the model's distribution as far as asked, in KL a token."""

import logging
import math
from collections.abc import Callable

from scipy.optimize import brentq

from powerblend.blends import Blend
from powerblend.engine.model import Model
from powerblend.probe.hidden_states import Reading
from powerblend.probe.measures import measure

log = logging.getLogger(__name__)

FIRST_BETA = 0.05
MIN_BETA = 1e-9
LOG_BETA_TOLERANCE = 1e-5
"""Absolute, of the log of the beta found."""


def matched_beta(model: Model, reading: Reading, blend: Blend, kl: float) -> float:
    """The positive beta with mean KL(p || p_guided) ``kl``, to four significant digits.

    log E_p[exp(beta d)] - beta E_p[d], d the difference of the logits, is each token's KL: convex
    in beta and 0 at 0, so it rises with beta and there is one solution. Each evaluation goes over
    the tokens once.

    Raises
    ------
    ValueError
        If not even the source alone (beta 1) is that far from the model.
    """
    excess = _excess(model, reading, blend, kl)
    if excess(0.0) < 0:
        raise ValueError(
            f"match_kl is {kl:g}, but the KL of {blend.model_dump(exclude={'beta'})} is only "
            f"{kl * math.exp(excess(0.0)):.3g} even at beta 1: ask for less, or of another layer"
        )
    low = math.log(FIRST_BETA)
    while excess(low) > 0:
        if low < math.log(MIN_BETA):
            raise ValueError(f"match_kl is {kl:g}: no beta above {MIN_BETA:g} has so small a KL")
        low -= math.log(4)
    high = min(0.0, low + math.log(4))
    while excess(high) < 0:
        high = min(0.0, high + math.log(4))
    beta = math.exp(brentq(excess, low, high, xtol=LOG_BETA_TOLERANCE))
    return float(f"{beta:.4g}")


def mean_kl(model: Model, reading: Reading, blend: Blend) -> float:
    """Mean KL(p || p_guided) per token of the sample, in nats."""
    _, scores = measure(model, reading, [blend])
    return float(scores.kl[reading.sampled].double().mean())


def _excess(model: Model, reading: Reading, blend: Blend, kl: float) -> Callable[[float], float]:
    """Log of the KL at exp(x), relative to the one asked for: nearly a line of slope 2."""
    known: dict[float, float] = {}

    def excess(x: float) -> float:
        if x not in known:
            found = mean_kl(model, reading, blend.model_copy(update={"beta": math.exp(x)}))
            log.info("beta %.5g: KL %.5g", math.exp(x), found)
            known[x] = math.log(max(found, 1e-300) / kl)
        return known[x]

    return excess
