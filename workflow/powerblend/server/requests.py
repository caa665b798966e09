"""What a request may hold: the OpenAI API's parameters, and the keys of a way of decoding.

Parameters that change what is drawn and have no exact form here are refused, not passed over.
"""

from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    model_validator,
)

MAX_ANSWERS = 128
"""Of a prompt, as the API has it."""

MAX_STOP_BYTES = 128
"""Of all stop strings together: each has a row of the whole vocabulary in a batch's table."""


def _encodable(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        half = text[error.start]
        raise ValueError(f"it has half of a character, {half!r}, which is no text") from None
    return text


Text = Annotated[str, AfterValidator(_encodable)]
"""JSON can name halves of characters; no tokenizer takes them."""


Item = TypeVar("Item")
Items = Annotated[list[Item], Field(fail_fast=True)]
"""A list of which the first wrong item is named: a body may hold a million of them."""


def _short(stop: str | list[str] | None) -> str | list[str] | None:
    size = len("".join(stop or "").encode())
    if size > MAX_STOP_BYTES:
        raise ValueError(f"it has {size} bytes in all; use at most {MAX_STOP_BYTES}")
    return stop


def _some(prompt: Any) -> Any:
    if prompt == []:
        raise ValueError("there is none; give a text, token ids, or several of either")
    return prompt


def _or(default: Any) -> BeforeValidator:
    """Null is as good as nothing, as the API has it."""
    return BeforeValidator(lambda value: default if value is None else value)


def _only(allowed: float) -> AfterValidator:
    def check(value: float) -> float:
        if value != allowed:
            raise ValueError(
                f"it is {value:g}, but answers are drawn from the whole distribution as it is; "
                "leave it out, and choose a way of decoding instead"
            )
        return value

    return AfterValidator(check)


class StreamOptions(BaseModel):
    """What a stream has beside the text."""

    include_usage: bool = False


class Body(BaseModel):
    """What both kinds of requests share; further keys are those of a decoding mapping."""

    model_config = ConfigDict(extra="allow")

    model: str
    n: Annotated[int, _or(1)] = Field(default=1, ge=1, le=MAX_ANSWERS)
    seed: int | None = None
    max_tokens: int | None = Field(default=None, gt=0)
    stop: Annotated[Text | Items[Text] | None, AfterValidator(_short)] = None
    stream: Annotated[bool, _or(False)] = False
    stream_options: StreamOptions | None = None
    temperature: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    top_p: Annotated[float, _only(1)] | None = None
    frequency_penalty: Annotated[float, _only(0)] | None = None
    presence_penalty: Annotated[float, _only(0)] | None = None
    logit_bias: dict[str, float] | None = Field(default=None, max_length=0)
    # What changes no answer is passed over.
    user: str | None = None
    store: bool | None = None
    metadata: Any = None
    service_tier: str | None = None

    @property
    def decoding(self) -> dict[str, JsonValue]:
        """The keys of a way of decoding that came with it."""
        return {key: value for key, value in (self.model_extra or {}).items() if value is not None}

    @property
    def wants_logprobs(self) -> bool:
        """Whether it asks for the log p of each token."""
        return False

    @property
    def stops(self) -> list[str]:
        """The strings that end an answer."""
        return [self.stop] if isinstance(self.stop, str) else self.stop or []


class TextPart(BaseModel):
    """A part of a message; images and sounds are none of this server's."""

    type: Literal["text"]
    text: Text


class Message(BaseModel):
    """A turn of a chat."""

    role: Literal["system", "developer", "user", "assistant"]
    content: Text | Items[TextPart]
    name: str | None = None

    @property
    def turn(self) -> dict[str, str]:
        """As a chat template takes it."""
        parts = self.content
        text = parts if isinstance(parts, str) else "".join(part.text for part in parts)
        return {"role": "system" if self.role == "developer" else self.role, "content": text}


class ChatBody(Body):
    """A request for an assistant's turn."""

    messages: Items[Message] = Field(min_length=1)
    max_completion_tokens: int | None = Field(default=None, gt=0)
    logprobs: Annotated[bool, _or(False)] = False
    top_logprobs: Literal[0] | None = None
    response_format: dict[Literal["type"], Literal["text"]] | None = None
    modalities: Items[Literal["text"]] | None = None
    tools: list[Any] | None = Field(default=None, max_length=0)
    tool_choice: Literal["none", "auto"] | None = None
    parallel_tool_calls: bool | None = None

    @property
    def wants_logprobs(self) -> bool:
        """Whether it asks for the log p of each token."""
        return self.logprobs

    @model_validator(mode="after")
    def _one_limit(self) -> Self:
        self.max_tokens = self.max_completion_tokens or self.max_tokens
        return self


class CompletionBody(Body):
    """A request for what comes after a text, or after token ids."""

    prompt: Annotated[Text | Items[int] | Items[Text] | Items[Items[int]], AfterValidator(_some)]
    logprobs: Literal[0] | None = None
    echo: Literal[False] | None = None
    best_of: Literal[1] | None = None
    suffix: Literal[""] | None = None

    @property
    def wants_logprobs(self) -> bool:
        """Whether it asks for the log p of each token: here 0 is how many others it wants."""
        return self.logprobs is not None

    @property
    def prompts(self) -> list[str] | list[list[int]]:
        """Every prompt."""
        prompt: Any = self.prompt
        one = isinstance(prompt, str) or (bool(prompt) and isinstance(prompt[0], int))
        return [prompt] if one else prompt
