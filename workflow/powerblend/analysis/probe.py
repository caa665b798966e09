"""What the probe comes to: the blends of the conditions, a layer to try, and betas of equal KL."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from powerblend.samplers import Sampler

Row = Mapping[str, Any]

SOURCE = ("source", "layer", "norm")
"""Keys that tell what is blended in, whatever its beta."""


def probed(
    measured: Row | None, samplers: Mapping[str, Sampler], matched: Mapping[str, Row]
) -> dict[str, Any]:
    """The report's numbers of the probe.

    Parameters
    ----------
    measured
        What `probe.run.probe` returned; None where the probe is disabled.
    samplers
        The study's conditions, each with its beta.
    matched
        What `probe.run.match` returned for the conditions whose beta it found.

    Returns
    -------
    ``measured`` itself; ``conditions``, a row per condition whose blend was measured;
    ``suggested``, the row of the best layer that is not the last; ``equal``, for each blend of the
    study, the betas at which the other sources that were probed have its KL (`beta_at`).
    """
    rows = [*_conditions(measured, samplers, matched)]
    return {
        "measured": measured,
        "conditions": rows,
        "suggested": suggested(measured) if measured else None,
        "equal": equal_betas(measured["blends"], rows) if measured else [],
    }


def suggested(measured: Row) -> Row | None:
    """The layer before the last with the best median rank; of equals, the best mean rank."""
    last = measured["decoder_blocks"] - 1
    others = [row for row in measured["layers"] if row["layer"] != last]
    return min(others, key=lambda row: (row["median_rank"], row["mean_rank"]), default=None)


def equal_betas(blends: Sequence[Row], rows: Sequence[Row]) -> list[dict[str, Any]]:
    """For each blend whose beta was given, the beta of every other source that has its KL.

    ``beta`` is None where the KL is above that of the source's largest measured beta.
    """
    curves: dict[tuple[Any, ...], list[Row]] = {}
    for row in blends:
        curves.setdefault(source_of(row), []).append(row)
    found, seen = [], set()
    for row in rows:
        law = (*source_of(row), row["beta"])
        if row["match_kl"] is None and law not in seen:
            seen.add(law)
            found += [
                {
                    "condition": row["condition"],
                    "kl": row["kl"],
                    **{key: value for key, value in zip(SOURCE, source, strict=True)},
                    "beta": beta_at(row["kl"], curve),
                }
                for source, curve in curves.items()
                if source != source_of(row)
            ]
    return found


def beta_at(kl: float, curve: Sequence[Row]) -> float | None:
    """The positive beta with a KL, from rows with ``beta`` and ``kl`` of one source.

    Between measured betas log KL is nearly linear in log beta, so it is interpolated; below the
    smallest of them it is extrapolated, KL being as beta^2 there.
    """
    points = sorted((r["beta"], r["kl"]) for r in curve if r["beta"] > 0 and r["kl"] > 0)
    if not points or kl <= 0 or kl > points[-1][1]:
        return None
    betas, kls = np.log(np.array(points).T)
    if np.log(kl) < kls[0]:
        return float(np.exp(betas[0] + (np.log(kl) - kls[0]) / 2))
    return float(np.exp(np.interp(np.log(kl), kls, betas)))


def source_of(row: Row) -> tuple[Any, ...]:
    """What a row blends in, whatever its beta."""
    return tuple(row.get(key) for key in SOURCE)


def _conditions(
    measured: Row | None, samplers: Mapping[str, Sampler], matched: Mapping[str, Row]
) -> Iterator[dict[str, Any]]:
    configured = measured["configured"] if measured else []
    for name, sampler in samplers.items():
        if sampler.blend is None:
            continue
        # As JSON has it, which is where the rows come from: a tuple is a list there.
        blend = sampler.blend.model_dump(mode="json", exclude_none=True)
        found = matched.get(name) or next(
            (row for row in configured if blend.items() <= row.items()), None
        )
        if found is not None:
            yield {"condition": name, "match_kl": None, **found}
