"""What a study's configuration may hold: typed, validated, unknown keys refused.

A study is ``config.yaml`` with any number of YAML files merged over it. Errors name the key, the
value and what is allowed. Knows no Snakemake.
"""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal, NamedTuple, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    field_validator,
    model_validator,
)

from powerblend.blends import AnyBlend, Blend, DraftBlend
from powerblend.blends.draft import TRAINED
from powerblend.datasets import ADAPTERS
from powerblend.graders import AnyGrader, MathGrader
from powerblend.infrastructure.sentences import sentences
from powerblend.samplers import SAMPLERS, Greedy, Sampler, parse_sampler, sampler_class
from powerblend.study.sweep import Sweep

BLEND: TypeAdapter[Blend] = TypeAdapter(AnyBlend)
"""What a blend's mapping may be."""

NAME = r"^[A-Za-z][A-Za-z0-9_]*$"
"""Names of studies and conditions: they become parts of paths."""

CONTRASTS = (
    "blend_ps - ps",
    "ps - greedy",
    "blend_ps - greedy",
    "blend_greedy - greedy",
    "draft_blend_ps - ps",
    "(blend_ps - ps) - (blend_greedy - greedy)",
)
"""The contrasts of a study that declares none; it need not have all of their conditions."""


Column = Literal["problem", "answer", "subject", "level", "unique_id", "solution"]
"""What a dataset may tell of a problem."""


class ConfigError(ValueError):
    """A configuration that cannot be run, in sentences for its author."""


class Section(BaseModel):
    """A mapping of the configuration."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ModelSpec(Section):
    """Which language model."""

    name: str = Field(
        description="hub id, directory, or embedded/NAME for one that the workflow fetches"
    )
    revision: str | None = Field(default=None, description="commit of the hub repository")
    dtype: Literal["float32", "float64", "bfloat16"] = Field(
        default="float32", description="of the weights and of what is computed with them"
    )


class DatasetSpec(Section):
    """Which problems, and how they are read."""

    name: str = Field(description="hub id, or a local .jsonl or .parquet file")
    revision: str | None = Field(
        default=None, description="commit of the hub dataset; pin one, or its problems may change"
    )
    subset: str | None = Field(
        default=None, description="configuration of the hub dataset, where it has several"
    )
    adapter: str = Field(
        default="math",
        description="whose columns it has: math, for any with a problem and an answer, or "
        "another benchmark's",
        json_schema_extra={"enum": list(ADAPTERS)},
    )
    split: str = Field(default="test", description="split of the hub dataset")
    columns: dict[Column, str] = Field(
        default_factory=dict, description="the column that holds a field, where named otherwise"
    )

    @field_validator("adapter")
    @classmethod
    def _known(cls, name: str) -> str:
        if name not in ADAPTERS:
            raise ValueError(f"there is no adapter {name!r}; use {_listed(ADAPTERS)}")
        return name

    @model_validator(mode="after")
    def _columns_are_used(self) -> Self:
        if self.columns and self.adapter != "math":
            raise ValueError(
                f"columns is {self.columns}, but the adapter {self.adapter} knows its columns; "
                "leave columns out, or use the adapter math"
            )
        return self


class PromptSpec(Section):
    """How a problem becomes a chat."""

    system: str | None = Field(default=None, description="system message")
    template: str = Field(
        default="{problem}", pattern=r"\{problem\}", description="the user's turn"
    )
    shots: str | None = Field(
        default=None, description="YAML file of worked examples, given as earlier turns"
    )
    chat_template: dict[str, Any] = Field(
        default_factory=dict, description="options of the chat template, as enable_thinking: false"
    )


class ShardSpec(Section):
    """Which part of the dataset: shard i of n holds the problems whose index is i modulo n."""

    of: int = Field(gt=0, description="shards that the dataset is cut into")
    use: list[int] | str = Field(description="which to run: a list, or a range as 0-7")

    @property
    def indices(self) -> list[int]:
        """The shards to run, in order."""
        if isinstance(self.use, list):
            return sorted(set(self.use))
        match = re.fullmatch(r"(\d+)-(\d+)", self.use)
        return list(range(int(match[1]), int(match[2]) + 1)) if match else []

    @model_validator(mode="after")
    def _within(self) -> Self:
        if not self.indices or not all(0 <= i < self.of for i in self.indices):
            raise ValueError(
                f"use is {self.use!r}; give a list or a range of shards from 0 to {self.of - 1}"
            )
        return self


class ProbeSpec(Section):
    """What each layer knows of the tokens of solutions, and what blending it in would change."""

    enabled: bool = Field(default=True, description="false: the study runs without it")
    over: Literal["solutions", "greedy"] = Field(
        default="solutions",
        description="the text that is read, token by token: the dataset's solutions, or, where it "
        "has none, the answers of a greedy condition in use",
    )
    problems: int = Field(default=128, gt=0, description="problems whose text is read, at most")
    tokens: int = Field(
        default=4096,
        gt=0,
        description="tokens of these texts that are measured, at most: a sample of them all; what "
        "is said of hard tokens is of all hard tokens of the texts",
    )
    layers: list[Annotated[int, Field(ge=0)]] = Field(
        default=[],
        description="decoder blocks, counted from 0, whose blends are measured at each of `betas`, "
        "with both norms; the sources of the study's own blends always are",
    )
    betas: list[Annotated[float, Field(allow_inf_nan=False)]] = Field(
        default=[-0.2, -0.1, -0.05, -0.01, 0.01, 0.05, 0.1, 0.2, 0.5],
        description="weights at which blends are measured",
    )


class Match(NamedTuple):
    """A blend whose beta the probe finds.

    ``source`` is the blend without it; ``target`` the mean KL(p || p_guided) per token that it is
    to have, in nats, or the blend whose KL that is.
    """

    source: dict[str, Any]
    target: float | dict[str, Any]


class TrainingSpec(Section):
    """How the draft is made that a blend with ``draft: trained`` mixes in."""

    problems: str = Field(description="local .jsonl or .parquet file; none of the study's problems")
    mask_token: str = Field(description="a token of the tokenizer that no text holds")
    layers: int = Field(default=2, gt=0, description="of the draft")
    block: int = Field(default=16, gt=1, description="tokens of a block, the known one included")
    max_new_tokens: int = Field(
        gt=0, description="longest answer that the model writes to be trained on"
    )
    steps: int = Field(gt=0, description="of gradient descent")
    batch: int = Field(default=32, gt=0, description="blocks in a step")
    learning_rate: float = Field(default=6e-4, gt=0, description="the largest, of AdamW")


class Resources(Section):
    """What one generate job takes; none of it changes what is generated."""

    rows: Annotated[int, Field(gt=0)] | Literal["auto"] = Field(
        default="auto", description="chains at once; auto: as many as the free memory holds"
    )
    gpu: int = Field(default=1, ge=0, le=1, description="GPUs per job; 0: generate on the CPU")
    threads: int = Field(default=1, gt=0, description="CPU threads per job")
    mem_mb: int = Field(default=16000, gt=0, description="memory per job")
    runtime: int = Field(default=240, gt=0, description="minutes that a cluster may give a job")


class Contrast(NamedTuple):
    """A comparison of accuracies: those of ``plus`` less those of ``minus``."""

    name: str
    plus: tuple[str, ...]
    minus: tuple[str, ...]

    @property
    def conditions(self) -> tuple[str, ...]:
        """All that it compares."""
        return self.plus + self.minus


def parse_contrast(text: str) -> Contrast:
    """A difference ``A - B``, or an interaction ``(A - B) - (C - D)``.

    Raises
    ------
    ValueError
        If it is neither, or names a condition twice.
    """
    pair = r"(\w+)\s*-\s*(\w+)"
    single = re.fullmatch(rf"\s*{pair}\s*", text)
    double = re.fullmatch(rf"\s*\(\s*{pair}\s*\)\s*-\s*\(\s*{pair}\s*\)\s*", text)
    if single:
        a, b = single.groups()
        contrast = Contrast(f"{a} - {b}", (a,), (b,))
    elif double:
        a, b, c, d = double.groups()
        contrast = Contrast(f"({a} - {b}) - ({c} - {d})", (a, d), (b, c))
    else:
        raise ValueError(f"{text!r} is not a contrast; write A - B or (A - B) - (C - D)")
    for name in contrast.conditions:
        if contrast.conditions.count(name) > 1:
            raise ValueError(f"{text!r} names {name} twice; compare different conditions")
    return contrast


def _canonical_contrast(text: str) -> str:
    return parse_contrast(text).name


class Study(Section):
    """A whole configuration.

    ``decoding`` is what conditions have in common: a condition reads from it the keys that its
    sampler knows and that it does not set itself. A condition's ``blend`` is a mapping, or the
    name of one in ``blends``.
    """

    study: str = Field(pattern=NAME, description="names results/STUDY/ and report/STUDY.md")
    title: str = Field(description="the report's title")
    seed: int = Field(description="of every random number")
    samples: int = Field(default=1, gt=0, description="answers per problem and condition")
    model: ModelSpec
    dataset: DatasetSpec
    prompt: PromptSpec = PromptSpec()
    shards: ShardSpec
    decoding: dict[str, Any] = Field(
        default_factory=dict, description="what conditions have in common: any sampler's keys"
    )
    blends: dict[str, dict[str, Any]] = Field(
        default_factory=dict, description="blends by the name that conditions call them"
    )
    conditions: dict[str, dict[str, Any]] = Field(
        description="ways of decoding by name: a sampler, perhaps a blend, and what is set "
        "otherwise than in decoding",
        json_schema_extra=lambda schema: schema.update(additionalProperties=_condition_schema()),
    )
    use: list[str] = Field(min_length=1, description="the conditions to run, in report order")
    sweep: Sweep | None = Field(default=None, description="more conditions to run, over a grid")
    grading: AnyGrader = Field(default=MathGrader(), description="how completions are judged")
    contrasts: list[Annotated[str, AfterValidator(_canonical_contrast)]] = Field(
        default=list(CONTRASTS),
        description="comparisons declared beforehand: A - B, or (A - B) - (C - D); those of "
        "conditions that are not in use are passed over",
    )
    training: TrainingSpec | None = Field(
        default=None, description="the draft of a model for which none is published"
    )
    probe: ProbeSpec = ProbeSpec()
    resources: Resources = Resources()

    def samplers(self, betas: Mapping[str, float] | None = None) -> dict[str, Sampler]:
        """The conditions to run, with everything that their samplers read.

        ``betas`` are those of the conditions in `matches`, once they are found; until then a beta
        is 0 here.
        """
        found = betas or {}
        return {
            name: self._sampler(condition, found.get(name, 0.0))
            for name, condition in self._in_use().items()
        }

    def matches(self) -> dict[str, Match]:
        """The conditions to run whose beta is found by the probe, and what it is to match."""
        found = {name: self._match(condition) for name, condition in self._in_use().items()}
        return {name: match for name, match in found.items() if match is not None}

    def probed_condition(self) -> str | None:
        """The first condition in use that decodes greedily and blends nothing, if there is one."""
        samplers = self.samplers()
        greedy = (n for n, s in samplers.items() if isinstance(s, Greedy) and s.blend is None)
        return next(greedy, None)

    def _in_use(self) -> dict[str, dict[str, Any]]:
        """The conditions to run, resolved: those of ``use``, then what the sweep adds to them."""
        chosen = {name: self._resolved(self.conditions[name]) for name in self.use}
        seen = [(self._sampler(condition), self._match(condition)) for condition in chosen.values()]
        for name, condition in self._swept().items():
            resolved = self._resolved(condition)
            identity = (self._sampler(resolved), self._match(resolved))
            if identity not in seen:
                chosen[name] = resolved
                seen.append(identity)
        return chosen

    def _swept(self) -> Mapping[str, Mapping[str, Any]]:
        if self.sweep is None:
            return {}
        return self.sweep.expand(self._whole(self.sweep.conditions))

    @model_validator(mode="after")
    def _conditions_hold(self) -> Self:
        errors = list(self._condition_errors()) or list(self._sweep_errors())
        # A sweep that does not hold has no names that contrasts could be held against.
        if not errors or self.sweep is None:
            errors += self._contrast_errors(self.conditions.keys() | self._swept().keys())
        errors = errors or [*self._probe_errors(), *self._draft_errors()]
        if errors:
            raise ValueError("\n".join(errors))
        return self

    def _condition_errors(self) -> Iterator[str]:
        known = set().union(*(sampler.keys() for sampler in SAMPLERS.values()))
        for key in self.decoding.keys() - known:
            yield f"decoding.{key}: no sampler reads this key; they read {_listed(sorted(known))}"
        for name, condition in self.conditions.items():
            if not re.fullmatch(NAME, name):
                yield f"conditions.{name}: use a letter, then letters, digits and _ as its name"
            try:
                self._sampler(condition)
            except ValidationError as error:
                yield from sentences(error, f"conditions.{name}")
            except ValueError as error:
                yield f"conditions.{name}: {error}"
        for name in self.use:
            if name not in self.conditions:
                yield f"use: no condition is called {name!r}; use {_listed(self.conditions)}"

    def _sweep_errors(self) -> Iterator[str]:
        if self.sweep is None:
            return
        unknown = [name for name in self.sweep.conditions if name not in self.conditions]
        for name in unknown:
            yield f"sweep.conditions: none is called {name!r}; use {_listed(self.conditions)}"
        if unknown:
            return
        for key in self.sweep.unread(self._whole(self.sweep.conditions)):
            yield (
                f"sweep.over.{key}: none of {_listed(self.sweep.conditions)} reads this key; "
                "write a sampler's, as alpha, or a blend's, as blend.beta"
            )
        for name, condition in self._swept().items():
            try:
                self._sampler(condition)
            except ValidationError as error:
                yield from sentences(error, f"sweep: {name}")

    def _contrast_errors(self, known: Collection[str]) -> Iterator[str]:
        for text in sorted(set(self.contrasts)):
            if self.contrasts.count(text) > 1:
                yield f"contrasts: {text!r} is listed twice"
            for name in parse_contrast(text).conditions:
                if name not in known and text not in CONTRASTS:
                    yield (
                        f"contrasts: {text!r} names {name!r}, which is no condition; "
                        f"use {_listed(self.conditions)}"
                    )

    def drafts(self) -> list[DraftBlend]:
        """The blends in use that mix in a draft."""
        blends = [sampler.blend for sampler in self.samplers().values()]
        return [blend for blend in blends if isinstance(blend, DraftBlend)]

    def _draft_errors(self) -> Iterator[str]:
        for blend in self.drafts():
            if blend.draft is None:
                yield "blend.draft: missing; give a hub id, a directory, or trained"
            if blend.draft == TRAINED and self.training is None:
                yield "blend.draft: it is trained, but there is no training section to say how"

    def _probe_errors(self) -> Iterator[str]:
        wanted = self.probe.enabled or bool(self.matches())
        if wanted and self.probe.over == "greedy" and self.probed_condition() is None:
            yield (
                "probe.over: greedy reads the answers of a condition with `sampler: greedy` and no "
                "blend, but none is in use; add one to use, or read solutions"
            )

    def _sampler(self, condition: Mapping[str, Any], beta: float = 0.0) -> Sampler:
        resolved = self._resolved(condition)
        if not _is_matched(resolved):
            return parse_sampler(resolved)
        sampler = parse_sampler(resolved | {"blend": {**resolved["blend"], "beta": beta}})
        self._match(resolved)
        return sampler

    def _resolved(self, condition: Mapping[str, Any]) -> dict[str, Any]:
        """A condition with what it shares with others, its blend looked up."""
        keys = sampler_class(condition).keys()
        shared = {key: value for key, value in self.decoding.items() if key in keys}
        return shared | self._with_blend(condition)

    def _whole(self, names: Sequence[str]) -> dict[str, dict[str, Any]]:
        """Conditions with the mapping of their blend, where they have the name of one."""
        return {name: self._with_blend(self.conditions[name]) for name in names}

    def _with_blend(self, condition: Mapping[str, Any]) -> dict[str, Any]:
        blend = condition.get("blend")
        named = {"blend": self._blend(blend, "blend")} if isinstance(blend, str) else {}
        return {**condition, **named}

    def _blend(self, name: str, key: str) -> dict[str, Any]:
        if name not in self.blends:
            raise ValueError(f"{key}: none is called {name!r}; use {_listed(self.blends)}")
        return self.blends[name]

    def _match(self, resolved: Mapping[str, Any]) -> Match | None:
        """What the beta of a resolved condition's blend is to match; None where it is a number.

        Raises
        ------
        ValueError
            If it is a mapping that says something else.
        """
        if not _is_matched(resolved):
            return None
        blend = resolved["blend"]
        wanted = blend["beta"].get("match_kl")
        if set(blend["beta"]) != {"match_kl"} or not isinstance(wanted, (int, float, str)):
            raise ValueError(
                "blend.beta: give a number, or {match_kl: KL}, a KL(p || p_guided) per token in "
                f"nats or the name of the blend that has it (it is {blend['beta']!r})"
            )
        target = self._reference(wanted) if isinstance(wanted, str) else float(wanted)
        if isinstance(target, float) and not 0 < target < float("inf"):
            raise ValueError(f"blend.beta.match_kl: give a KL above 0 (it is {wanted!r})")
        # Parsed, so that what is left out and what is written as its default are one.
        parsed = _parse_blend({**blend, "beta": 0.0})
        return Match({key: value for key, value in parsed.items() if key != "beta"}, target)

    def _reference(self, name: str) -> dict[str, Any] | float:
        """The blend of a name, or the number that YAML took for a word, as 1e-3."""
        try:
            return float(name)
        except ValueError:
            blend = self._blend(name, "blend.beta.match_kl")
        if isinstance(blend.get("beta"), Mapping):
            raise ValueError(f"blend.beta.match_kl: the beta of {name} must be a number itself")
        return _parse_blend(blend)


def parse_study(config: Mapping[str, Any]) -> Study:
    """Validate a merged configuration.

    Raises
    ------
    ConfigError
        With a sentence for every key that is unknown, missing or out of range.
    """
    try:
        return Study.model_validate(dict(config))
    except ValidationError as error:
        raise ConfigError("\n".join(sentences(error))) from None


def study_schema() -> dict[str, Any]:
    """JSON schema of a configuration, for editors and for readers."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema"} | Study.model_json_schema()


def _is_matched(resolved: Mapping[str, Any]) -> bool:
    """Whether the beta of a condition's blend is to be found, not given."""
    blend = resolved.get("blend")
    return isinstance(blend, Mapping) and isinstance(blend.get("beta"), Mapping)


def _parse_blend(blend: Mapping[str, Any]) -> dict[str, Any]:
    """A blend with its defaults."""
    return BLEND.validate_python(dict(blend)).model_dump(exclude_none=True)


def _condition_schema() -> dict[str, Any]:
    """A condition: any sampler's keys; but for ``sampler``, ``decoding`` may hold them."""
    variants = []
    for sampler in SAMPLERS.values():
        schema = sampler.model_json_schema()
        properties = {key: schema["properties"].get(key, {}) for key in sorted(sampler.keys())}
        described = schema["properties"]["blend"]["description"]
        properties["blend"] = {"type": ["string", "object"], "description": described}
        variants.append(
            {
                "type": "object",
                "description": schema["description"],
                "properties": properties,
                "required": ["sampler"],
                "additionalProperties": False,
            }
        )
    return {"anyOf": variants}


def _listed(names: Any) -> str:
    return ", ".join(names) or "(there are none)"
