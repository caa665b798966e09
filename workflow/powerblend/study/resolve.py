"""From the conditions that a configuration writes to those that run.

A condition is a mapping that leaves out what it shares with others: it reads the keys of
``decoding`` that its sampler knows, and may name its blend. Here it becomes a sampler with all that
it reads. Knows no other section of a configuration.
"""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import cached_property
from typing import NamedTuple

from pydantic import TypeAdapter, ValidationError

from powerblend.blends import AnyBlend, Blend
from powerblend.infrastructure.sentences import sentences
from powerblend.samplers import SAMPLERS, Sampler, parse_sampler, sampler_class
from powerblend.study.sweep import Settings, Sweep

NAME = r"^[A-Za-z][A-Za-z0-9_]*$"
"""Names of studies and conditions: they become parts of paths."""

BLEND: TypeAdapter[Blend] = TypeAdapter(AnyBlend)
"""What a blend's mapping may be."""


class Match(NamedTuple):
    """A blend whose beta the probe finds.

    The beta of ``source`` is 0 until then; ``target`` is the mean KL(p || p_guided) per token that
    it is to have, in nats, or the blend whose KL that is.
    """

    source: Blend
    target: float | Blend


class Condition(NamedTuple):
    """A condition that runs: its sampler, and what the beta of its blend is to match, if it is."""

    sampler: Sampler
    match: Match | None


class Conditions:
    """The conditions of a configuration: those that it writes, and by `in_use` those that run."""

    def __init__(
        self,
        written: Mapping[str, Settings],
        decoding: Settings,
        blends: Mapping[str, Settings],
        use: Sequence[str],
        sweep: Sweep | None,
    ) -> None:
        self._written, self._decoding, self._blends = written, decoding, blends
        self._use, self._sweep = use, sweep

    @cached_property
    def in_use(self) -> dict[str, Condition]:
        """The conditions to run, by name: those of ``use``, then what the sweep adds to them."""
        chosen = {name: self.resolve(self._written[name]) for name in self._use}
        # By their text: to compare a thousand conditions in pairs takes seconds.
        seen = set(map(repr, chosen.values()))
        for name, settings in self.swept.items():
            condition = self.resolve(settings)
            if repr(condition) not in seen:
                chosen[name] = condition
                seen.add(repr(condition))
        return chosen

    @cached_property
    def swept(self) -> dict[str, Settings]:
        """What the sweep makes of the conditions that it varies."""
        if self._sweep is None:
            return {}
        return self._sweep.expand({n: self._with_blend(n) for n in self._sweep.conditions})

    def resolve(self, settings: Settings) -> Condition:
        """A condition with what it shares with others, its blend looked up.

        Raises
        ------
        ValueError
            With a sentence for what is wrong; pydantic's ValidationError for a sampler's keys.
        """
        known = sampler_class(settings).keys()
        shared = {key: value for key, value in self._decoding.items() if key in known}
        whole = shared | self._looked_up(settings)
        blend = whole.get("blend")
        if not (isinstance(blend, Mapping) and isinstance(blend.get("beta"), Mapping)):
            return Condition(parse_sampler(whole), None)
        sampler = parse_sampler(whole | {"blend": {**blend, "beta": 0.0}})
        return Condition(sampler, self._match(blend))

    def errors(self) -> Iterator[str]:
        """A sentence for everything that is wrong with the conditions, then with the sweep."""
        found = list(self._condition_errors())
        yield from found or self._sweep_errors()

    def names(self) -> Collection[str]:
        """The conditions that are written, and those of the sweep."""
        return self._written.keys() | self.swept.keys()

    def _with_blend(self, name: str) -> Settings:
        return self._looked_up(self._written[name])

    def _looked_up(self, settings: Settings) -> dict[str, object]:
        """A condition with the mapping of its blend, where it has the name of one."""
        blend = settings.get("blend")
        named = {"blend": self._blend(blend, "blend")} if isinstance(blend, str) else {}
        return {**settings, **named}

    def _blend(self, name: str, key: str) -> Settings:
        if name not in self._blends:
            raise ValueError(f"{key}: none is called {name!r}; use {listed(self._blends)}")
        return self._blends[name]

    def _match(self, blend: Settings) -> Match:
        """What the beta of a blend is to match, where it is a mapping."""
        beta = blend["beta"]
        assert isinstance(beta, Mapping)
        wanted = beta.get("match_kl")
        if set(beta) != {"match_kl"} or not isinstance(wanted, (int, float, str)):
            raise ValueError(
                "blend.beta: give a number, or {match_kl: KL}, a KL(p || p_guided) per token in "
                f"nats or the name of the blend that has it (it is {beta!r})"
            )
        target = self._reference(wanted) if isinstance(wanted, str) else float(wanted)
        if isinstance(target, float) and not 0 < target < float("inf"):
            raise ValueError(f"blend.beta.match_kl: give a KL above 0 (it is {wanted!r})")
        return Match(BLEND.validate_python({**blend, "beta": 0.0}), target)

    def _reference(self, name: str) -> Blend | float:
        """The blend of a name, or the number that YAML took for a word, as 1e-3."""
        try:
            return float(name)
        except ValueError:
            blend = self._blend(name, "blend.beta.match_kl")
        if isinstance(blend.get("beta"), Mapping):
            raise ValueError(f"blend.beta.match_kl: the beta of {name} must be a number itself")
        return BLEND.validate_python(dict(blend))

    def _condition_errors(self) -> Iterator[str]:
        known = set().union(*(sampler.keys() for sampler in SAMPLERS.values()))
        for key in self._decoding.keys() - known:
            yield f"decoding.{key}: no sampler reads this key; they read {listed(sorted(known))}"
        for name, settings in self._written.items():
            if not re.fullmatch(NAME, name):
                yield f"conditions.{name}: use a letter, then letters, digits and _ as its name"
            try:
                self.resolve(settings)
            except ValidationError as error:
                yield from sentences(error, f"conditions.{name}")
            except ValueError as error:
                yield f"conditions.{name}: {error}"
        for name in self._use:
            if name not in self._written:
                yield f"use: no condition is called {name!r}; use {listed(self._written)}"

    def _sweep_errors(self) -> Iterator[str]:
        if self._sweep is None:
            return
        unknown = [name for name in self._sweep.conditions if name not in self._written]
        for name in unknown:
            yield f"sweep.conditions: none is called {name!r}; use {listed(self._written)}"
        if unknown:
            return
        varied = {name: self._with_blend(name) for name in self._sweep.conditions}
        for key in self._sweep.unread(varied):
            yield (
                f"sweep.over.{key}: none of {listed(varied)} reads this key; "
                "write a sampler's, as alpha, or a blend's, as blend.beta"
            )
        for name, settings in self.swept.items():
            try:
                self.resolve(settings)
            except ValidationError as error:
                yield from sentences(error, f"sweep: {name}")


def listed(names: Collection[str]) -> str:
    """Names in a sentence."""
    return ", ".join(names) or "(there are none)"
