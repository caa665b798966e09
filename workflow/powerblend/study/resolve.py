"""From the conditions that a configuration writes to those that run.

A condition is a mapping that leaves out what it shares with others: it reads the keys of
``decoding`` that its sampler knows, and may name its blend. Here it becomes a sampler with all that
it reads. Knows no other section of a configuration.
"""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Literal, NamedTuple

from pydantic import TypeAdapter, ValidationError

from powerblend.blends import AnyBlend, Blend, UniformBlend
from powerblend.infrastructure.sentences import sentences
from powerblend.samplers import SAMPLERS, Sampler, parse_sampler, sampler_class
from powerblend.study.sweep import Settings, Sweep

NAME = r"^[A-Za-z][A-Za-z0-9_]*$"
"""Names of studies and conditions: they become parts of paths."""

BLEND: TypeAdapter[Blend] = TypeAdapter(AnyBlend)
"""What a blend's mapping may be."""


MATCHED: Mapping[str, Literal["kl", "scale"]] = {"match_kl": "kl", "match_scale": "scale"}
"""What a beta or an exponent may be made to match, by the key that asks for it."""


class Match(NamedTuple):
    """A blend whose beta the probe finds.

    The beta of ``source`` is 0 until then; ``target`` is what it is to have, or the blend that has
    it: the mean KL(p || p_guided) per token in nats, or the mean scale of the logits relative to
    the model's. An exponent is matched as a blend of the uniform distribution, which multiplies
    ``alpha`` by 1 - beta.
    """

    source: Blend
    target: float | Blend
    measure: Literal["kl", "scale"] = "kl"
    alpha: float | None = None


class Condition(NamedTuple):
    """A condition that runs: its sampler, and what its beta or exponent is to match, if it is."""

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
        blend, alpha = whole.get("blend"), whole.get("alpha")
        if isinstance(alpha, Mapping):
            return self._with_matched_alpha(whole, shared.get("alpha"), alpha)
        if not (isinstance(blend, Mapping) and isinstance(blend.get("beta"), Mapping)):
            return Condition(parse_sampler(whole), None)
        sampler = parse_sampler(whole | {"blend": {**blend, "beta": 0.0}})
        source = BLEND.validate_python({**blend, "beta": 0.0})
        return Condition(sampler, self._match(source, blend["beta"], "blend.beta"))

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

    def _with_matched_alpha(self, whole: Settings, alpha: object, wanted: Settings) -> Condition:
        """A condition whose exponent is ``alpha`` of ``decoding``, times what the probe finds."""
        if "alpha" not in sampler_class(whole).model_fields or whole.get("blend") is not None:
            raise ValueError("alpha: only that of p^alpha without a blend can be matched")
        sampler = parse_sampler({**whole, "alpha": alpha})
        match = self._match(UniformBlend(beta=0.0), wanted, "alpha")
        return Condition(sampler, match._replace(alpha=sampler.model_dump()["alpha"]))

    def _match(self, source: Blend, wanted: Settings, key: str) -> Match:
        """What a number of the configuration is to match, where it is a mapping."""
        (asked, value), *others = wanted.items() or [("", None)]
        if others or asked not in MATCHED or not isinstance(value, (int, float, str)):
            raise ValueError(
                f"{key}: give a number, or {{match_kl: KL}}, a KL(p || p_guided) per token in "
                "nats or the name of the blend that has it, or {match_scale: SCALE}, the scale of "
                f"its logits relative to the model's, or a blend's name (it is {dict(wanted)!r})"
            )
        key = f"{key}.{asked}"
        target = self._reference(value, key) if isinstance(value, str) else float(value)
        if isinstance(target, float) and not 0 < target < float("inf"):
            what = "KL" if asked == "match_kl" else "scale"
            raise ValueError(f"{key}: give a {what} above 0 (it is {value!r})")
        return Match(source, target, MATCHED[asked])

    def _reference(self, name: str, key: str) -> Blend | float:
        """The blend of a name, or the number that YAML took for a word, as 1e-3."""
        try:
            return float(name)
        except ValueError:
            blend = self._blend(name, key)
        if isinstance(blend.get("beta"), Mapping):
            raise ValueError(f"{key}: the beta of {name} must be a number itself")
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
