"""What is known of a study before anything is generated."""

from powerblend.vocabulary.frozen import Frozen


class PromptLengths(Frozen):
    """Tokens of the shortest and of the longest prompt."""

    shortest: int
    longest: int


class Checked(Frozen):
    """The model's sizes and the prompts' lengths: what the check of a study learned on its way."""

    model: str
    architecture: tuple[str, ...] | None
    layers: int
    hidden_size: int
    vocabulary: int
    problems: int
    prompt_tokens: PromptLengths
