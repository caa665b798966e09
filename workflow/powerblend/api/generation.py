"""The front door: prompts in, generations out. Here engine, samplers and drafts meet."""

import hashlib
import logging
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from numbers import Integral
from typing import Any, NamedTuple, cast, get_args

import numpy as np
from pydantic import ValidationError

from powerblend.api.prompts import ChatTemplate, token_ids
from powerblend.api.token_texts import decoded, token_texts
from powerblend.blends import Blend, DraftBlend
from powerblend.draft.guided import DraftedModel, Guided
from powerblend.engine import rounds
from powerblend.engine.chain import Chain
from powerblend.engine.endings import Ending, Finish
from powerblend.engine.memory import (
    USABLE_MEMORY_SHARE,
    Sized,
    decide_rows,
    is_out_of_memory,
)
from powerblend.engine.model import Model
from powerblend.engine.randomness import Stream
from powerblend.engine.rounds import Rounds
from powerblend.engine.scheduler import (
    Finished,
    Job,
    LanguageModel,
    Scheduler,
    Speculation,
    Tally,
)
from powerblend.engine.strings import Trace
from powerblend.infrastructure.sentences import sentences
from powerblend.samplers import Sampler, parse_sampler

log = logging.getLogger(__name__)

TOKEN_DIGITS = 4
"""Decimal places of what a record holds of each token, so that it stays small."""


@dataclass(frozen=True)
class Replica:
    """Another string of an answer: a lower rung of a ladder, or another particle.

    Attributes
    ----------
    tokens, text, log_p, finish
        As of the answer.
    alpha, swaps
        A rung's exponent, and its swaps with the rung above; None of a particle.
    moves, accepted, unchanged
        A rung's moves, as of the answer.
    weight
        A particle's share of the last sweep's weights; None of a rung.
    """

    tokens: list[int]
    text: str | None
    log_p: float
    finish: str
    alpha: float | None = None
    swaps: int | None = None
    moves: int | None = None
    accepted: int | None = None
    unchanged: int | None = None
    weight: float | None = None

    def as_record(self) -> dict[str, Any]:
        """The fields by name, without those that are not of its kind."""
        given = {f.name: getattr(self, f.name) for f in fields(self)}
        return {name: value for name, value in given.items() if value is not None}


@dataclass(frozen=True)
class Generation:
    """An answer, how it came about and what it cost.

    Attributes
    ----------
    tokens, text
        The answer's token ids, with those that end it; and as text, without what ends it, None
        where there is no tokenizer.
    n_tokens, prompt_tokens
        How many the answer has, and how many the prompt.
    finish
        ``eos``; ``stop`` if a stop string ended the answer; ``length`` if it was cut at
        ``max_new_tokens``.
    decoded_tokens
        Tokens drawn for the answer, rejected work included.
    moves, accepted, unchanged, early_rejected
        Metropolis-Hastings moves; unchanged ones proposed the state itself.
    log_p, log_t
        Sum of log-probabilities of the answer under the base model, and under the target, which is
        unnormalised for power sampling.
    accepted_by_block, log_t_by_block
        Accepted moves of each stage, and log t of the state at its end.
    seconds
        The answer's share of wall time: each step's time divided by the rows at work.
    passes
        Steps of the model in which the answer had a row: fewer than tokens where some were guessed.
    moved
        Moves, with what swaps follow them, that changed the answer; None of one chain with uniform
        cuts, of which it is accepted - unchanged.
    replicas
        The answer's other strings; None where it has one string.
    log_normaliser
        Of particles, log of the estimate of sum_x t(x), which is unbiased; None of others.
    token_log_p, token_entropy, token_certainty
        Of each token with ``token_values``, rounded to `TOKEN_DIGITS`: its log-probability, and
        entropy and KL(uniform || p) of the base model before it, in nats; else None.
    log_p_by_move
        With ``move_values``, log_p after each move of the last block, rounded likewise; else None.
    """

    tokens: list[int]
    text: str | None
    n_tokens: int
    finish: str
    prompt_tokens: int
    decoded_tokens: int
    moves: int
    accepted: int
    unchanged: int
    early_rejected: int
    log_p: float
    log_t: float
    accepted_by_block: list[int]
    log_t_by_block: list[float]
    seconds: float
    passes: int
    moved: int | None = None
    replicas: list[Replica] | None = None
    log_normaliser: float | None = None
    token_log_p: list[float] | None = None
    token_entropy: list[float] | None = None
    token_certainty: list[float] | None = None
    log_p_by_move: list[float] | None = None

    def as_record(self) -> dict[str, Any]:
        """The fields by name, without those that its sampler does not give."""
        given = {f.name: getattr(self, f.name) for f in fields(self)}
        optional = {f.name for f in fields(self) if f.default is None}
        record = {k: v for k, v in given.items() if k not in optional or v is not None}
        if self.replicas is not None:
            record["replicas"] = [replica.as_record() for replica in self.replicas]
        return record


class Request(NamedTuple):
    """One answer to generate: ``problem_id`` and ``sample`` name its random stream."""

    prompt: Sequence[int]
    problem_id: str
    sample: int


class Run:
    """A batch of requests on its way through the model; `tally` and `rows` tell how far it is."""

    def __init__(
        self,
        model: LanguageModel,
        requests: Sequence[Request],
        sampler: Sampler,
        seed: int,
        rows: int | None,
        speculate: Speculation = "auto",
    ) -> None:
        if rows is not None:
            _check_whole("rows", rows, least=1, otherwise=", or None to choose by free memory")
        if speculate not in get_args(Speculation):
            raise ValueError(f"speculate is {speculate!r}; use 'auto' or 'off'")
        self._jobs = [
            Job(np.asarray(r.prompt, np.int64), Stream(seed, r.problem_id, r.sample), r)
            for r in requests
        ]
        self._model, self._sampler = _prepared(model, sampler.blend), sampler
        self._tokenizer = getattr(model, "tokenizer", None)
        self._speculate = speculate
        self._ending = _ending(model, sampler.stop or ())
        self.tally = Tally()
        longest = max((len(job.prompt) for job in self._jobs), default=0)
        self.rows = self._decide_rows(longest) if rows is None else rows

    def steps(self) -> Iterator[list[tuple[Request, Generation]]]:
        """Yield, after every step, the answers that it finished; most steps finish none.

        Where memory ends, the chains that are not finished start again with half the rows: that
        changes no answer.
        """
        waiting = {id(job): job for job in self._jobs}
        while waiting:
            try:
                for finished in self._scheduler(list(waiting.values())).run():
                    for chain in finished:
                        del waiting[id(chain.job)]
                    yield [(chain.job.name, self._generation(chain)) for chain in finished]
            except RuntimeError as error:
                if not is_out_of_memory(error) or self.rows == 1:
                    raise
                self.rows = min(self.rows, len(waiting)) // 2 or 1
                log.warning("out of memory: going on with %d rows", self.rows)

    def _scheduler(self, jobs: Sequence[Job], longest_prompt: int | None = None) -> Scheduler:
        batch = self.rows, self.tally, self._ending, self._speculate
        return Scheduler(self._model, self._sampler, jobs, *batch, longest_prompt)

    def _decide_rows(self, longest: int, share: float = USABLE_MEMORY_SHARE) -> int:
        """As many as a share of the free memory holds, of prompts of ``longest`` tokens."""
        answer = self._sampler.max_new_tokens
        # What a proposal may have to give back is copied from its cut on, and cuts are uniform:
        # beside a row's own keys there are those of half an answer, on the average or less.
        copied = answer // 2 if self._sampler.schedule().steps else 0
        if self._sampler.strings > 1:
            # A string that waits has its keys beside the rows, and its answer those of the prompt.
            copied = 2 * answer + longest
        return decide_rows(cast(Sized, self._model), longest + answer + copied, share)

    def _generation(self, finished: Finished) -> Generation:
        chain = finished.answer
        tokens, finish = chain.state.tokens.tolist(), self._ending.finish(chain.state.tokens)
        plain = isinstance(chain, Chain) and not chain.law.exponents
        token_log_p, token_entropy, token_certainty = self._token_values(chain.state)
        return Generation(
            tokens=tokens,
            text=self._text(tokens, finish),
            n_tokens=len(tokens),
            finish=finish,
            prompt_tokens=len(finished.job.prompt),
            decoded_tokens=chain.decoded_tokens,
            moves=chain.moves.proposed,
            accepted=chain.moves.accepted,
            unchanged=chain.moves.unchanged,
            early_rejected=chain.moves.early_rejected,
            log_p=float(chain.state.log_p.sum()),
            log_t=chain.state.log_t,
            accepted_by_block=chain.accepted_by_block,
            log_t_by_block=chain.log_t_by_block,
            seconds=finished.seconds,
            passes=finished.passes,
            moved=None if plain else chain.moved,
            replicas=self._replicas(chain),
            log_normaliser=None if isinstance(chain, Chain) else chain.log_normaliser,
            token_log_p=token_log_p,
            token_entropy=token_entropy,
            token_certainty=token_certainty,
            log_p_by_move=self._move_values(chain),
        )

    def _replicas(self, answer: Chain | Rounds) -> list[Replica] | None:
        """An answer's other strings, if it has several."""
        if isinstance(answer, Chain):
            return None
        return [self._replica(replica) for replica in answer.replicas]

    def _replica(self, replica: rounds.Replica) -> Replica:
        tokens, moves = replica.string.tokens.tolist(), replica.moves
        finish = self._ending.finish(replica.string.tokens)
        return Replica(
            tokens=tokens,
            text=self._text(tokens, finish),
            log_p=float(replica.string.log_p.sum()),
            finish=finish,
            alpha=replica.exponent,
            swaps=replica.swaps,
            moves=moves and moves.proposed,
            accepted=moves and moves.accepted,
            unchanged=moves and moves.unchanged,
            weight=replica.weight,
        )

    def _token_values(self, string: Trace) -> list[list[float] | None]:
        """Log-probability, entropy and certainty of each token, where they are asked for."""
        if not self._sampler.token_values:
            return [None, None, None]
        values = [string.log_p, *string.columns[:, -2:].T]
        return [column.round(TOKEN_DIGITS).tolist() for column in values]

    def _move_values(self, answer: Chain | Rounds) -> list[float] | None:
        """The answer's log p after each of its last moves, where that is asked for."""
        if not self._sampler.move_values:
            return None
        return [round(value, TOKEN_DIGITS) for value in answer.log_p_by_move]

    def _text(self, tokens: list[int], finish: Finish) -> str | None:
        """What an answer says, up to the EOS or the stop string that ends it."""
        if self._tokenizer is None:
            return None
        text = decoded(self._tokenizer, tokens[:-1] if finish == "eos" else tokens)
        stops = self._sampler.stop if finish == "stop" and self._sampler.stop else ()
        places = [place for stop in stops if (place := text.find(stop)) >= 0]
        return text[: min(places, default=len(text))]


def sample(
    model: LanguageModel,
    prompts: str | Sequence[Any],
    decoding: Mapping[str, Any] | Sampler,
    samples: int = 1,
    seed: int = 0,
    rows: int | None = 32,
    speculate: Speculation = "auto",
    chat_template: ChatTemplate | None = None,
) -> list[list[Generation]]:
    """Generate answers.

    Parameters
    ----------
    model
        From `load_model`.
    prompts
        Texts, lists of token ids, or lists of chat messages (mappings with ``role`` and
        ``content``). Messages go through the tokenizer's chat template; a text does not, and gets
        the special tokens that the tokenizer begins a text with. One text alone is one prompt.
    decoding
        A condition: ``{"sampler": "power", "alpha": 4.0, "max_new_tokens": 64, "blocks": 8,
        "steps": 2, "blend": {"source": "layer", "layer": 27, "beta": 0.05}}``.
    samples
        Answers per prompt.
    seed
        With the prompt and the sample's number, determines every random number, whatever the order
        of the prompts and whatever shares the batch. A prompt given n times gets n different
        answers.
    rows
        Chains at once; None: as many as the free memory holds. Halved if memory ends all the same.
    speculate
        ``auto``: next tokens are guessed from what was written before where that is likely to save
        time, on a GPU in up to 64 rows; ``off``: never. It changes no answer.
    chat_template
        Options of the chat template, as ``{"enable_thinking": False}``, or the template itself
        under ``chat_template``.

    Returns
    -------
    ``out[i][j]`` is sample j of prompt i.

    Raises
    ------
    ValueError
        If ``decoding`` has an unknown key or a value that is not allowed, the blend's layer is not
        one of the model's, the model lacks the draft that the blend mixes in, a prompt is none for
        this model or too long for it, or a number is not whole or too small.
    """
    _check_whole("seed", seed)
    try:
        sampler = parse_sampler(decoding)
    except ValidationError as error:
        raise ValueError("\n".join(sentences(error, "decoding"))) from None
    requests = requests_of(model, prompts, sampler, samples, chat_template)
    done = {
        (request.problem_id, request.sample): generation
        for finished in Run(model, requests, sampler, seed, rows, speculate).steps()
        for request, generation in finished
    }
    return [
        [done[request.problem_id, j] for j in range(samples)] for request in requests[::samples]
    ]


def requests_of(
    model: LanguageModel,
    prompts: str | Sequence[Any],
    sampler: Sampler,
    samples: int,
    chat_template: ChatTemplate | None = None,
) -> list[Request]:
    """All samples of one prompt after another.

    Raises
    ------
    ValueError
        If the blend's layer is not one of the model's, a prompt is none for this model or too long
        for it, or the number of samples is not whole or too small.
    """
    _check_whole("samples", samples, least=1)
    if sampler.blend is not None and isinstance(model, Model):
        sampler.blend.check(model.num_layers)
    tokens = token_ids(model, prompts, sampler.max_new_tokens, chat_template)
    return [
        Request(prompt, problem_id, sample)
        for prompt, problem_id in zip(tokens, _identities(tokens), strict=True)
        for sample in range(samples)
    ]


def _check_whole(name: str, value: Any, least: int | None = None, otherwise: str = "") -> None:
    """Refuse what is no whole number, or too small a one."""
    if not isinstance(value, Integral) or (least is not None and value < least):
        allowed = "a whole number" if least is None else f"a whole number, at least {least}"
        raise ValueError(f"{name} is {value!r}; use {allowed}{otherwise}")


def _prepared(model: LanguageModel, blend: Blend | None) -> LanguageModel:
    """The model, with its draft where the blend mixes that in."""
    if not isinstance(blend, DraftBlend):
        return model
    if not isinstance(model, DraftedModel):
        raise ValueError(
            "the blend's source is a draft, but the model has none: "
            "load_model(..., draft=load_draft(...))"
        )
    return Guided(model)


def _ending(model: LanguageModel, stops: Sequence[str]) -> Ending:
    """When an answer ends: by the model's EOS tokens, or by a stop string."""
    if not stops:
        return Ending(model.eos_token_ids)
    tokenizer, vocabulary = getattr(model, "tokenizer", None), getattr(model, "vocabulary", None)
    if tokenizer is None:
        raise ValueError(
            f"stop is {list(stops)}, which needs a tokenizer: load the model with one, or name the "
            "tokens that end an answer: load_model(..., eos_token_ids=[...])"
        )
    texts = token_texts(tokenizer, vocabulary or len(tokenizer))
    return Ending(model.eos_token_ids, [stop.encode() for stop in stops], texts)


def _identities(prompts: list[list[int]]) -> list[str]:
    """A name for each prompt that depends on its tokens and on how many like it came before."""
    seen: Counter[str] = Counter()
    names = []
    for prompt in prompts:
        digest = hashlib.sha256(",".join(map(str, prompt)).encode()).hexdigest()
        names.append(f"{digest}#{seen[digest]}")
        seen[digest] += 1
    return names
