"""What a study's configuration may hold: typed, validated, unknown keys refused.

A study is ``config.yaml`` with any number of YAML files merged over it. Errors name the key, the
value and what is allowed. Knows no Snakemake.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal, NamedTuple, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from powerblend.samplers import SAMPLERS, Sampler, parse_sampler, sampler_class

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
    dtype: Literal["float32", "float64", "bfloat16"] = "float32"


class DatasetSpec(Section):
    """Which problems, and what their fields are called."""

    name: str = Field(description="hub id, or a local .jsonl or .parquet file")
    revision: str | None = Field(default=None, description="commit of the hub dataset")
    split: str = Field(default="test", description="split of the hub dataset")
    columns: dict[Literal["problem", "answer", "subject", "level", "unique_id"], str] = Field(
        default_factory=dict, description="the column that holds a field, where named otherwise"
    )


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
    decoding: dict[str, Any] = Field(default_factory=dict)
    blends: dict[str, dict[str, Any]] = Field(default_factory=dict)
    conditions: dict[str, dict[str, Any]] = Field(
        json_schema_extra=lambda schema: schema.update(additionalProperties=_condition_schema())
    )
    use: list[str] = Field(min_length=1, description="the conditions to run, in report order")
    contrasts: list[Annotated[str, AfterValidator(_canonical_contrast)]] = Field(
        default=list(CONTRASTS),
        description="comparisons declared beforehand: A - B, or (A - B) - (C - D); those of "
        "conditions that are not in use are passed over",
    )
    resources: Resources = Resources()

    def samplers(self) -> dict[str, Sampler]:
        """The conditions to run, with everything that their samplers read."""
        return {name: self._sampler(self.conditions[name]) for name in self.use}

    @model_validator(mode="after")
    def _conditions_hold(self) -> Self:
        errors = [*self._condition_errors(), *self._contrast_errors()]
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
                yield from _sentences(error, f"conditions.{name}")
            except ValueError as error:
                yield f"conditions.{name}: {error}"
        for name in self.use:
            if name not in self.conditions:
                yield f"use: no condition is called {name!r}; use {_listed(self.conditions)}"

    def _contrast_errors(self) -> Iterator[str]:
        for text in sorted(set(self.contrasts)):
            if self.contrasts.count(text) > 1:
                yield f"contrasts: {text!r} is listed twice"
            for name in parse_contrast(text).conditions:
                if name not in self.conditions and text not in CONTRASTS:
                    yield (
                        f"contrasts: {text!r} names {name!r}, which is no condition; "
                        f"use {_listed(self.conditions)}"
                    )

    def _sampler(self, condition: Mapping[str, Any]) -> Sampler:
        keys = sampler_class(condition).keys()
        shared = {key: value for key, value in self.decoding.items() if key in keys}
        resolved = shared | dict(condition)
        blend = resolved.get("blend")
        if isinstance(blend, str):
            if blend not in self.blends:
                raise ValueError(f"blend: none is called {blend!r}; use {_listed(self.blends)}")
            resolved["blend"] = self.blends[blend]
        return parse_sampler(resolved)


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
        raise ConfigError("\n".join(_sentences(error))) from None


def study_schema() -> dict[str, Any]:
    """JSON schema of a configuration, for editors and for readers."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema"} | Study.model_json_schema()


def _condition_schema() -> dict[str, Any]:
    """A condition: any sampler's keys; but for ``sampler``, ``decoding`` may hold them."""
    variants = []
    for sampler in SAMPLERS.values():
        schema = sampler.model_json_schema()
        properties = {key: schema["properties"].get(key, {}) for key in sorted(sampler.keys())}
        properties["blend"] = {"type": ["string", "object"]}
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


def _sentences(error: ValidationError, where: str = "") -> Iterator[str]:
    """One sentence per error, with the key's full path, its value and what is allowed."""
    for problem in error.errors():
        path = ".".join(filter(None, [where, *map(str, problem["loc"])]))
        if problem["type"] == "value_error":
            reason = str(problem["ctx"]["error"])
            # Errors of conditions bring the paths of their own keys.
            yield f"{path}: {reason}" if path else reason
        elif problem["type"] == "extra_forbidden":
            yield f"{path}: unknown key (its value is {problem['input']!r})"
        elif problem["type"] == "missing":
            yield f"{path}: missing"
        else:
            yield f"{path}: {problem['msg']} (it is {problem['input']!r})"


def _listed(names: Any) -> str:
    return ", ".join(names) or "(there are none)"
