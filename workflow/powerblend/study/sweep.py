"""Sweeps: conditions over a grid of settings, as named conditions. Knows no study."""

import re
from collections.abc import Iterator, Mapping
from itertools import product
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from powerblend.samplers import sampler_class

Settings = Mapping[str, object]
"""A condition as it is written, before a sampler has read it."""

BLEND = "blend."
"""Begins a key of a condition's blend."""


class Sweep(BaseModel):
    """Conditions over a grid: each of ``conditions`` at every combination of values in ``over``.

    A condition reads the keys that its sampler and its blend have, and is not repeated over those
    that it has not: greedy decoding does not vary with alpha. What comes out equal to a condition
    that is already in use is that one.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    conditions: list[str] = Field(min_length=1, description="the conditions to vary")
    over: dict[str, Annotated[list[JsonValue], Field(min_length=1)]] = Field(
        min_length=1,
        description="values by key: a sampler's, as alpha, or a blend's, as blend.beta",
    )

    def expand(self, conditions: Mapping[str, Settings]) -> dict[str, Settings]:
        """Its conditions by name, from those that it varies, whose blends are mappings."""
        return dict(
            _varied(name, conditions[name], point)
            for name in self.conditions
            for point in self._grid()
        )

    def unread(self, conditions: Mapping[str, Settings]) -> list[str]:
        """The keys of the grid that none of its conditions reads."""
        varied = [conditions[name] for name in self.conditions]
        return [key for key in self.over if not any(_reads(how, key) for how in varied)]

    def _grid(self) -> Iterator[Settings]:
        for values in product(*self.over.values()):
            yield dict(zip(self.over, values, strict=True))


def _varied(name: str, condition: Settings, point: Settings) -> tuple[str, Settings]:
    """A condition at a point of the grid: ``blend_ps_alpha_2_beta_m0p1``."""
    varied = dict(condition)
    for key, value in point.items():
        if not _reads(condition, key):
            continue
        inner = key.removeprefix(BLEND)
        if inner == key:
            varied[key] = value
        else:
            blend = varied["blend"]
            assert isinstance(blend, Mapping)
            varied["blend"] = {**blend, inner: value}
        name += f"_{inner}_{_word(value)}"
    return name, varied


def _reads(condition: Settings, key: str) -> bool:
    if key.startswith(BLEND):
        return condition.get("blend") is not None
    known = sampler_class(condition).keys()
    return key in known


def _word(value: object) -> str:
    """A value as part of a name: -0.05 is m0p05, {match_kl: 0.01} is match_kl_0p01."""
    if isinstance(value, Mapping):
        return "_".join(f"{key}_{_word(inner)}" for key, inner in value.items())
    text = f"{value:g}" if isinstance(value, float) else str(value)
    return re.sub(r"\W", "_", text.replace("-", "m").replace(".", "p").replace("+", ""))
