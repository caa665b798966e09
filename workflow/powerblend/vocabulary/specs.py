"""What decides a result: the parts of a configuration, and the specs of the jobs that they make.

A job's spec holds everything that decides what the job makes and nothing else: not the number of
samples, the shards, the batch or the device. Its canonical JSON names its files, so that equal
specs are one file and a changed one is another. Knows no paths.
"""

import hashlib
import json
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    PlainSerializer,
    SerializerFunctionWrapHandler,
    field_validator,
    model_serializer,
    model_validator,
)

from powerblend.blends import AnyBlend
from powerblend.datasets import ADAPTERS
from powerblend.samplers import Sampler, parse_sampler

Column = Literal["problem", "answer", "subject", "level", "unique_id", "solution"]
"""What a dataset may tell of a problem."""


LOCAL_SUFFIXES = (".jsonl", ".parquet")
"""Endings of the names of datasets that are local files; any other is one of the hub."""


OTHER_SUFFIXES = (
    *(".csv", ".tsv", ".json", ".ndjson", ".txt", ".yaml", ".yml"),
    *(".xlsx", ".arrow", ".gz", ".zip", ".zst"),
)
"""Endings that no dataset of the hub has, for they are those of files."""


def check_ending(name: str) -> str:
    """The name of a dataset, if it is no local file of a kind that is not read.

    Raises
    ------
    ValueError
        Saying which are.
    """
    if name.lower().endswith(OTHER_SUFFIXES):
        raise ValueError(
            f"{name} is no dataset that can be read; give a file that ends in "
            f"{' or '.join(LOCAL_SUFFIXES)}, or a hub id"
        )
    return name


class Section(BaseModel):
    """A mapping of a configuration, or of a spec."""

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


class KnownModel(ModelSpec):
    """A `ModelSpec` as specs hold it: of a local directory, with what its files hold."""

    content: str | None = None

    @model_serializer(mode="wrap")
    def _without_open_content(self, dump: SerializerFunctionWrapHandler) -> dict[str, JsonValue]:
        keys: dict[str, JsonValue] = dump(self)
        return {key: value for key, value in keys.items() if key != "content" or value is not None}


class DatasetSpec(Section):
    """Which problems, and how they are read."""

    name: Annotated[str, AfterValidator(check_ending)] = Field(
        description="hub id, or a local .jsonl or .parquet file"
    )
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
            raise ValueError(f"there is no adapter {name!r}; use {', '.join(ADAPTERS)}")
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
    """How a problem becomes a prompt: a chat, or plain text."""

    style: Literal["chat", "plain"] = Field(
        default="chat",
        description="plain: text to go on from, without a chat template, as base models are "
        "prompted; the tokenizer's own special tokens come before it",
    )
    system: str | None = Field(
        default=None, description="system message; where plain, a paragraph before all else"
    )
    template: str = Field(
        default="{problem}",
        pattern=r"\{problem\}",
        description="the user's turn; where plain, what the answer goes on from",
    )
    shots: str | None = Field(
        default=None,
        description="YAML file of worked examples, given as earlier turns, or where plain as "
        "paragraphs",
    )
    chat_template: dict[str, JsonValue] = Field(
        default_factory=dict,
        description="options of the chat template, as enable_thinking: false; not read where plain",
    )
    chat_template_jinja: str | None = Field(
        default=None,
        description="the chat template itself, for a tokenizer that has none or another one",
    )

    @model_validator(mode="after")
    def _plain_has_no_template(self) -> Self:
        if self.style == "plain" and self.chat_template_jinja:
            raise ValueError("style is plain, which reads no chat_template_jinja: leave it out")
        return self


class Shot(Section):
    """A worked example."""

    problem: str
    solution: str


class Prompt(Section):
    """A `PromptSpec` whose file of worked examples has been read."""

    style: Literal["chat", "plain"] = "chat"
    system: str | None = None
    template: str
    shots: list[Shot] = []
    chat_template: dict[str, JsonValue] = {}
    chat_template_jinja: str | None = None

    @model_serializer(mode="wrap")
    def _without_what_is_usual(self, dump: SerializerFunctionWrapHandler) -> dict[str, JsonValue]:
        """Equal prompts have equal JSON, as before there were plain ones."""
        usual = {"style": "chat", "chat_template_jinja": None}
        keys: dict[str, JsonValue] = dump(self)
        return {k: value for k, value in keys.items() if k not in usual or value != usual[k]}


class TrainingSpec(Section):
    """How the draft is made that a blend with ``draft: trained`` mixes in."""

    problems: Annotated[str, AfterValidator(check_ending)] = Field(
        description="local .jsonl or .parquet file; none of the study's problems"
    )
    mask_token: str = Field(description="a token of the tokenizer that no text holds")
    layers: int = Field(default=2, gt=0, description="of the draft")
    block: int = Field(default=16, gt=1, description="tokens of a block, the known one included")
    max_new_tokens: int = Field(
        gt=0, description="longest answer that the model writes to be trained on"
    )
    steps: int = Field(gt=0, description="of gradient descent")
    batch: int = Field(default=32, gt=0, description="blocks in a step")
    learning_rate: float = Field(default=6e-4, gt=0, description="the largest, of AdamW")


def _without_open_keys(value: BaseModel) -> dict[str, JsonValue]:
    return value.model_dump(mode="json", exclude_none=True)


BlendSpec = Annotated[AnyBlend, PlainSerializer(_without_open_keys)]
"""A blend as specs hold it: without the keys that its source leaves open."""

SamplerSpec = Annotated[
    Sampler, BeforeValidator(parse_sampler), PlainSerializer(_without_open_keys)
]
"""A sampler as specs hold it, with everything that it reads."""


class JobSpec(Section):
    """What a job is to do; keys that it has no use for are left out of its JSON."""

    @model_serializer(mode="wrap")
    def _without_unused_keys(self, dump: SerializerFunctionWrapHandler) -> dict[str, JsonValue]:
        keys: dict[str, JsonValue] = dump(self)
        unused = {key for key in type(self).model_fields if getattr(self, key) is None}
        return {key: value for key, value in keys.items() if key not in unused}

    @property
    def canonical(self) -> str:
        """Its JSON, equal exactly when specs are."""
        return canonical(self.model_dump(mode="json"))


class DraftSpec(JobSpec):
    """The training of a draft, from the answers it is trained on to its weights."""

    engine: str
    trainer: str
    model: KnownModel
    dataset: Annotated[
        DatasetSpec, PlainSerializer(lambda d: d.model_dump(mode="json", exclude_unset=True))
    ]
    prompt: Prompt
    seed: int
    training: TrainingSpec


class CellSpec(JobSpec):
    """One fully resolved way of generating answers.

    Where the beta of the blend is to be found by the probe, ``matched`` says how, and stands for
    the beta in the spec's JSON; the beta of ``decoding`` is then 0 until `with_beta` gives it. So
    it is with an exponent, which is then what ``matched`` multiplies.
    """

    engine: str
    model: KnownModel
    dataset: DatasetSpec
    prompt: Prompt
    seed: int
    decoding: SamplerSpec
    training: DraftSpec | None = None
    draft_content: str | None = None
    matched: "MatchSpec | None" = None

    def with_beta(self, beta: float) -> "CellSpec":
        """The spec with the beta that the probe found: that of a condition with this very beta."""
        decoding = self.decoding.matched(beta)
        return self.model_copy(update={"decoding": decoding, "matched": None})

    @model_validator(mode="before")
    @classmethod
    def _take_matched_out(cls, data: Any) -> Any:
        decoding = data.get("decoding") if isinstance(data, dict) else None
        if not isinstance(decoding, dict):
            return data
        blend, alpha = decoding.get("blend"), decoding.get("alpha")
        if isinstance(alpha, dict):
            return {**data, "decoding": {**decoding, "alpha": alpha["alpha"]}, "matched": alpha}
        if not isinstance(blend, dict) or not isinstance(blend.get("beta"), dict):
            return data
        unmatched = {**decoding, "blend": {**blend, "beta": 0.0}}
        return {**data, "decoding": unmatched, "matched": blend["beta"]}

    @model_serializer(mode="wrap")
    def _put_matched_in(self, dump: SerializerFunctionWrapHandler) -> dict[str, JsonValue]:
        keys: dict[str, Any] = dump(self)
        matched = keys.pop("matched")
        if matched is not None and "blend" in keys["decoding"]:
            keys["decoding"]["blend"]["beta"] = matched
        elif matched is not None:
            keys["decoding"]["alpha"] = matched
        unused = {"training", "draft_content"}
        return {key: value for key, value in keys.items() if not (key in unused and value is None)}


class ShardsRead(Section):
    """Whose answers a probe reads."""

    of: int
    use: list[int]


class ProbedText(JobSpec):
    """The text that a probe reads: solutions, or the greedy answers of a cell to some shards."""

    text: Literal["solutions", "greedy"]
    shards: ShardsRead | None = None
    cell: CellSpec | None = None


class ReadingSpec(JobSpec):
    """Which tokens a probe looks at: up to ``tokens`` of the texts of ``problems`` problems."""

    probe: str
    model: KnownModel
    dataset: DatasetSpec
    prompt: Prompt
    over: ProbedText
    problems: int
    tokens: int
    training: DraftSpec | None = None
    draft_content: str | None = None


class MeasurementSpec(ReadingSpec):
    """What a probe measures there: layers over betas, and the blends of the study.

    Where it reads solutions, ``own`` are the model's own answers, on which the study's blends are
    measured too, and ``matched`` names the jobs that find betas of such blends.
    """

    layers: list[int]
    betas: list[float]
    blends: list[BlendSpec]
    own: ProbedText | None = None
    matched: list[str] | None = None


def _with_beta_0(blend: Any) -> Any:
    return {**blend, "beta": 0.0} if isinstance(blend, dict) else blend


def _without_beta(blend: BaseModel) -> dict[str, JsonValue]:
    return blend.model_dump(mode="json", exclude_none=True, exclude={"beta"})


class MatchSpec(ReadingSpec):
    """The beta that a probe is to find for ``blend``, whose own is 0 here and left out of the JSON.

    ``match_kl`` is the mean KL(p || p_guided) per token that the blend is to have, in nats, or
    another blend, whose KL that is; ``match_scale`` is the same of the mean scale of its logits
    relative to the model's. One of the two is given. Where an exponent is to be found, ``alpha``
    is what 1 - beta multiplies.
    """

    blend: Annotated[AnyBlend, BeforeValidator(_with_beta_0), PlainSerializer(_without_beta)]
    match_kl: float | BlendSpec | None = None
    match_scale: float | BlendSpec | None = None
    alpha: float | None = None

    @property
    def measure(self) -> Literal["kl", "scale"]:
        """What is matched."""
        return "scale" if self.match_kl is None else "kl"

    @property
    def target(self) -> float | BlendSpec:
        """How large it is to be, or the blend that has it."""
        found = self.match_scale if self.match_kl is None else self.match_kl
        assert found is not None
        return found

    @model_validator(mode="after")
    def _one_target(self) -> Self:
        if (self.match_kl is None) == (self.match_scale is None):
            raise ValueError("give either match_kl or match_scale")
        return self


CellSpec.model_rebuild()


def canonical(value: object) -> str:
    """JSON of a value that JSON can hold, equal exactly when the values are."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def digest(text: str) -> str:
    """Ten hexadecimal digits that name a text."""
    return hashlib.sha256(text.encode()).hexdigest()[:10]
