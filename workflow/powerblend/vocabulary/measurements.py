"""What jobs of the model measured: the probe, a beta that was matched, a draft's training.

The types of ``results/STUDY/probe/*.json`` and of a draft's ``training.json``. Knows no model and
no study.
"""

from pydantic import ConfigDict, JsonValue, SerializerFunctionWrapHandler, model_serializer

from powerblend.vocabulary.frozen import Frozen


class Settings(Frozen):
    """Keys that a configuration may hold, those that only some kinds know as extra ones.

    What was not given is not written, as in the configuration.
    """

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, JsonValue]

    @model_serializer(mode="wrap")
    def _given(self, serialise: SerializerFunctionWrapHandler) -> dict[str, JsonValue]:
        given = self.model_fields_set
        written: dict[str, JsonValue] = serialise(self)
        return {key: value for key, value in written.items() if value is not None or key in given}


class BlendSettings(Settings):
    """What is mixed into a model's logits, and with what weight.

    Only one kind of source may have a setting, as a draft has its ``revision``.

    Attributes
    ----------
    source
        The kind of source, as ``layer`` or ``draft``.
    layer, norm
        The decoder layer that is read and the norm after it; None where the source has none.
    """

    beta: float
    source: str
    layer: int | None = None
    norm: str | None = None


class NextTokenMeasures(Frozen):
    """How a distribution of the next token predicts a text, beside the model's own distribution.

    Keys of the hard tokens, those that the model itself finds unlikely, begin with ``hard_``; they
    are None where there are none.

    Attributes
    ----------
    mean_rank, median_rank
        Of the text's token, from 1, the most likely one.
    log_loss
        Mean -log p of the text's token, in nats.
    better, likelier
        Shares of tokens with a better rank and with more probability than under the model.
    kl
        Mean KL(p || distribution) per token, in nats, with p the model's own.
    flips
        Share of tokens at which another token than the model's becomes the most likely.
    scale
        Standard deviation of the logits over the vocabulary, relative to the model's.
    """

    mean_rank: float
    median_rank: float
    log_loss: float
    better: float
    likelier: float
    kl: float
    flips: float
    scale: float
    hard_mean_rank: float | None
    hard_median_rank: float | None
    hard_log_loss: float | None
    hard_better: float | None
    hard_likelier: float | None


class MeasuredBlend(NextTokenMeasures, BlendSettings):
    """A blend and its measures, in one flat mapping."""

    model_config = ConfigDict(extra="allow")

    @property
    def blend(self) -> BlendSettings:
        """The settings alone."""
        own = {name: getattr(self, name) for name in BlendSettings.model_fields}
        return BlendSettings(**own, **self.__pydantic_extra__)


class MatchedBlend(MeasuredBlend):
    """A blend whose ``beta`` was searched for, so that it has a given KL or scale.

    Attributes
    ----------
    match_kl, match_scale
        What was asked for: the KL in nats per token, or the scale; the other is None.
    like
        The blend whose KL or scale that is, where it was not given as a number.
    over, problems, tokens, of_tokens
        What was read: see `ProbeMeasurements`.
    """

    match_kl: float | None = None
    match_scale: float | None = None
    like: BlendSettings | None
    over: str
    problems: int
    tokens: int
    of_tokens: int


class DraftPredictions(Frozen):
    """What a draft predicts of some tokens; None where there are none.

    ``agreement`` is the share whose most likely token is the target's.
    """

    tokens: int
    mean_rank: float | None
    median_rank: float | None
    log_loss: float | None
    agreement: float | None


class OffsetPredictions(DraftPredictions):
    """Those at one offset in a draft's blocks, counted from 1."""

    offset: int


class DraftMeasurements(DraftPredictions):
    """A draft's predictions of all tokens, and of each offset in its blocks of ``block_size``."""

    block_size: int
    offsets: tuple[OffsetPredictions, ...]


class OwnAnswers(Frozen):
    """The study's blends, measured on the answers that the model itself gives greedily.

    ``problems``, ``tokens`` and ``of_tokens`` are those of `ProbeMeasurements`, of this text.
    """

    problems: int
    tokens: int
    of_tokens: int
    blends: tuple[MeasuredBlend, ...]


class ProbeMeasurements(Frozen):
    """What the probe measured.

    Attributes
    ----------
    over
        The text that was read: ``solutions``, or the model's own ``greedy`` answers.
    problems, tokens, of_tokens
        How many problems' texts were read, and how many of how many tokens are measured.
    hard, hard_tokens
        The probability below which a token is hard, and how many are.
    decoder_blocks
        Decoder layers of the model.
    final
        The model's own distribution.
    layers
        Each decoder layer alone (beta 1), with either norm.
    blends
        Chosen sources over beta.
    configured
        The blends of the study's conditions, as they are configured.
    draft
        The draft, where there is one.
    own
        The study's blends on the model's own answers, where ``over`` is another text.
    """

    over: str
    problems: int
    tokens: int
    of_tokens: int
    hard: float
    hard_tokens: int
    decoder_blocks: int
    final: NextTokenMeasures
    layers: tuple[MeasuredBlend, ...]
    blends: tuple[MeasuredBlend, ...]
    configured: tuple[MeasuredBlend, ...]
    draft: DraftMeasurements | None
    own: OwnAnswers | None = None


class DraftQuality(Frozen):
    """A draft on answers that it was not trained on.

    Attributes
    ----------
    accuracy
        Share of the tokens at which its most likely token is the target's.
    by_offset
        The same by offset in the block, from 1.
    accepted, offered
        Per block, the tokens before its first error, and all that it predicts.
    """

    accuracy: float
    by_offset: tuple[float, ...]
    accepted: float
    offered: float


class TrainingReport(Frozen):
    """How a draft was trained.

    Attributes
    ----------
    answers, held_out
        Answers trained on, and answers kept to measure it.
    parameters, steps
        Of the draft, and of gradient descent.
    losses
        Of each step, in nats per token.
    held_out_quality, greedy_quality
        On the target's answers at T = 1, and on its greedy ones.
    """

    answers: int
    held_out: int
    parameters: int
    steps: int
    losses: tuple[float, ...]
    held_out_quality: DraftQuality
    greedy_quality: DraftQuality
