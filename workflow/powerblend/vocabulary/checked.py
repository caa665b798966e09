"""What is known of a study before anything is generated."""

from pydantic import BaseModel, ConfigDict


class PromptLengths(BaseModel):
    """Tokens of the shortest and of the longest prompt."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    shortest: int
    longest: int


class Checked(BaseModel):
    """The model's sizes and the prompts' lengths: what the check of a study learned on its way."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str
    architecture: list[str] | None
    layers: int
    hidden_size: int
    vocabulary: int
    problems: int
    prompt_tokens: PromptLengths
