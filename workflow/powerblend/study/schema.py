"""What a study's configuration may hold: typed, validated, unknown keys refused.

A study is ``config.yaml`` with any number of YAML files merged over it. Errors name the key, the
value and what is allowed. Knows no Snakemake.
"""

import re
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, JsonValue, ValidationError, model_validator

from powerblend.blends import DraftBlend
from powerblend.blends.draft import TRAINED
from powerblend.graders import AnyGrader, MathGrader
from powerblend.infrastructure.sentences import sentences
from powerblend.samplers import SAMPLERS, Sampler
from powerblend.study.contrasts import (
    CONTRASTS,
    EQUIVALENCE_MARGIN,
    canonical_contrast,
    parse_contrast,
)
from powerblend.study.resolve import NAME, Condition, Conditions, Match, listed
from powerblend.study.sweep import Sweep
from powerblend.vocabulary.errors import ConfigError
from powerblend.vocabulary.specs import (
    DatasetSpec,
    ModelSpec,
    PromptSpec,
    Section,
    TrainingSpec,
)


class ShardSpec(Section):
    """Which part of the dataset: shard i of n holds the problems whose index is i modulo n."""

    of: int = Field(gt=0, description="shards that the dataset is cut into")
    use: list[int] | str = Field(description="which to run: a list, or a range as 0-7")
    per_job: int = Field(
        default=1,
        gt=0,
        description="shards that one generate job does: it loads the model once and fills its rows "
        "with the chains of all of them; decides nothing else, and can be changed at any time",
    )

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


class Resources(Section):
    """What one generate job takes; none of it changes what is generated."""

    rows: Annotated[int, Field(gt=0)] | Literal["auto"] = Field(
        default="auto", description="chains at once; auto: as many as the free memory holds"
    )
    speculate: Literal["auto", "off"] = Field(
        default="auto",
        description="auto: next tokens are guessed from what was written before and checked "
        "several in a step, where that is likely to save time, on a GPU in up to 64 rows; "
        "off: never",
    )
    gpu: int = Field(default=1, ge=0, le=1, description="GPUs per job; 0: generate on the CPU")
    threads: int = Field(default=1, gt=0, description="CPU threads per job")
    mem_mb: int = Field(default=16000, gt=0, description="memory per job")
    runtime: int = Field(default=240, gt=0, description="minutes that a cluster may give a job")


class Study(Section):
    """A whole configuration.

    ``decoding`` is what conditions have in common: a condition reads from it the keys that its
    sampler knows and that it does not set itself. A condition's ``blend`` is a mapping, or the
    name of one in ``blends``.
    """

    study: str = Field(pattern=NAME, description="names results/STUDY/ and report/STUDY.md")
    title: str = Field(description="the report's title")
    seed: int = Field(description="of every random number")
    seeds: list[int] | None = Field(
        default=None,
        min_length=1,
        description="seeds of the answers, each of which gives `samples` to every problem by every "
        "condition; absent: `seed` alone. What else is random, as a draft's training, has `seed`",
    )
    samples: int = Field(default=1, gt=0, description="answers per problem and condition")
    model: ModelSpec
    dataset: DatasetSpec
    prompt: PromptSpec = PromptSpec()
    shards: ShardSpec
    decoding: dict[str, JsonValue] = Field(
        default_factory=dict, description="what conditions have in common: any sampler's keys"
    )
    blends: dict[str, dict[str, JsonValue]] = Field(
        default_factory=dict, description="blends by the name that conditions call them"
    )
    conditions: dict[str, dict[str, JsonValue]] = Field(
        description="ways of decoding by name: a sampler, perhaps a blend, and what is set "
        "otherwise than in decoding",
        json_schema_extra=lambda schema: schema.update(additionalProperties=_condition_schema()),
    )
    use: list[str] = Field(min_length=1, description="the conditions to run, in report order")
    sweep: Sweep | None = Field(default=None, description="more conditions to run, over a grid")
    grading: AnyGrader = Field(default=MathGrader(), description="how completions are judged")
    contrasts: list[Annotated[str, AfterValidator(canonical_contrast)]] = Field(
        default=list(CONTRASTS),
        description="comparisons declared beforehand: A - B, or (A - B) - (C - D); those of "
        "conditions that are not in use are passed over",
    )
    equivalence_margin: float = Field(
        default=EQUIVALENCE_MARGIN,
        gt=0,
        lt=100,
        description="percentage points: a contrast that two one-sided tests find to be smaller, "
        "either way, is reported as no difference",
    )
    long_run: str | None = Field(
        default=None,
        description="a condition in use whose chains are long enough to stand for p^alpha: the "
        "report says how far the other conditions' answers are from its draws",
    )
    training: TrainingSpec | None = Field(
        default=None, description="the draft of a model for which none is published"
    )
    probe: ProbeSpec = ProbeSpec()
    resources: Resources = Resources()

    @cached_property
    def written(self) -> Conditions:
        """The conditions as they are written, for those that run to be made of."""
        return Conditions(self.conditions, self.decoding, self.blends, self.use, self.sweep)

    @property
    def answer_seeds(self) -> list[int]:
        """The seeds of the answers, in order."""
        return [self.seed] if self.seeds is None else self.seeds

    @property
    def in_use(self) -> dict[str, Condition]:
        """The conditions to run, in report order."""
        return self.written.in_use

    def samplers(self, betas: Mapping[str, float] | None = None) -> dict[str, Sampler]:
        """The conditions to run, with everything that their samplers read.

        ``betas`` are those of the conditions in `matches`, once they are found; until then a beta
        is 0 here.
        """
        found = {name: condition.sampler for name, condition in self.in_use.items()}
        for name, beta in (betas or {}).items():
            found[name] = found[name].matched(beta)
        return found

    def matches(self) -> dict[str, Match]:
        """The conditions to run whose beta or exponent the probe finds, and what it is to match."""
        return {name: how.match for name, how in self.in_use.items() if how.match is not None}

    def probed_condition(self) -> str | None:
        """The first condition in use that decodes greedily and blends nothing, if there is one."""
        plain = (n for n, how in self.in_use.items() if _is_plain_greedy(how.sampler))
        return next(plain, None)

    def drafts(self) -> list[DraftBlend]:
        """The blends in use that mix in a draft."""
        blends = [how.sampler.blend for how in self.in_use.values()]
        return [blend for blend in blends if isinstance(blend, DraftBlend)]

    @model_validator(mode="after")
    def _conditions_hold(self) -> Self:
        errors = list(self.written.errors())
        # A sweep that does not hold has no names that contrasts could be held against.
        if not errors or self.sweep is None:
            errors += [*self._contrast_errors(), *self._long_run_errors()]
        seeds = self.answer_seeds
        if len(set(seeds)) < len(seeds):
            errors.append(f"seeds: {seeds} has one twice, which would give the same answers twice")
        errors = errors or [*self._probe_errors(), *self._draft_errors()]
        if errors:
            raise ValueError("\n".join(errors))
        return self

    def _contrast_errors(self) -> Iterator[str]:
        known = self.written.names()
        for text in sorted(set(self.contrasts)):
            if self.contrasts.count(text) > 1:
                yield f"contrasts: {text!r} is listed twice"
            for name in parse_contrast(text).conditions:
                if name not in known and text not in CONTRASTS:
                    yield (
                        f"contrasts: {text!r} names {name!r}, which is no condition; "
                        f"use {listed(self.conditions)}"
                    )

    def _long_run_errors(self) -> Iterator[str]:
        if self.long_run is None:
            return
        if self.long_run not in self.in_use:
            yield f"long_run: {self.long_run!r} is not in use; use {listed(self.use)}"
            return
        sampler = self.in_use[self.long_run].sampler
        chain = sampler.describe().chain
        if chain is None or not chain.exact or sampler.blend is not None:
            yield f"long_run: {self.long_run} is no exact chain of the model alone"
        if not sampler.move_values:
            yield f"long_run: {self.long_run} keeps no log p by move; give it move_values: true"
        if self.samples * len(self.answer_seeds) < 2:
            yield "long_run: it is told by several chains, which are samples; give 4 of them"

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


def _is_plain_greedy(sampler: Sampler) -> bool:
    return sampler.blend is None and sampler.describe().role == "greedy"


def _condition_schema() -> dict[str, Any]:
    """A condition: any sampler's keys; but for ``sampler``, ``decoding`` may hold them."""
    variants = []
    for sampler in SAMPLERS.values():
        schema = sampler.model_json_schema()
        properties = {key: schema["properties"].get(key, {}) for key in sorted(sampler.keys())}
        described = schema["properties"]["blend"]["description"]
        properties["blend"] = {"type": ["string", "object"], "description": described}
        if "alpha" in sampler.model_fields:
            given = properties["alpha"]
            matched = (
                "; or {match_kl: BLEND} or {match_scale: BLEND}: decoding's, times what has that"
            )
            properties["alpha"] = {
                "description": given["description"] + matched,
                "anyOf": [given, {"type": "object"}],
            }
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
