"""Answers as the OpenAI API says them: whole, or as the events of a stream.

Beside what the API has, a choice holds under ``powerblend`` what only this engine knows. Knows no
HTTP and no model but its tokenizer.
"""

import json
import re
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from powerblend.api.generation import Generation
from powerblend.server.requests import Body, ChatBody

Json = dict[str, object]
"""As the API has it."""

FINISH_REASONS = {"eos": "stop", "stop": "stop", "length": "length"}
"""The API's words for how an answer ended."""

END_OF_STREAM = "data: [DONE]\n\n"

WORD = re.compile(r"\s*\S+|\s+$")
"""A piece of a streamed text; all of them together are the text."""


@dataclass
class Answered:
    """A request with all of its answers: ``samples`` of each prompt, in their order."""

    body: Body
    answers: Sequence[Generation]
    seed: int
    tokenizer: Any

    def __post_init__(self) -> None:
        self._chat = isinstance(self.body, ChatBody)
        self._id = f"{'chatcmpl' if self._chat else 'cmpl'}-{uuid.uuid4().hex}"
        self._created = int(time.time())

    def whole(self) -> Json:
        """The response to a request that is no stream."""
        choices = [self._choice(index, answer) for index, answer in enumerate(self.answers)]
        kind = "chat.completion" if self._chat else "text_completion"
        return self._head(kind) | {"choices": choices, "usage": self._usage()}

    def events(self) -> Iterator[str]:
        """The same, as server-sent events: each answer's text word by word."""
        kind = "chat.completion.chunk" if self._chat else "text_completion"
        for index, answer in enumerate(self.answers):
            for choice in self._pieces(answer):
                yield _event(self._head(kind) | {"choices": [{"index": index} | choice]})
        if self.body.stream_options and self.body.stream_options.include_usage:
            yield _event(self._head(kind) | {"choices": [], "usage": self._usage()})
        yield END_OF_STREAM

    def _head(self, kind: str) -> Json:
        return {
            "id": self._id,
            "object": kind,
            "created": self._created,
            "model": self.body.model,
        }

    def _choice(self, index: int, answer: Generation) -> Json:
        text = answer.text or ""
        message: Json = {"role": "assistant", "content": text, "refusal": None}
        return {
            "index": index,
            **({"message": message} if self._chat else {"text": text}),
            **self._end(answer),
        }

    def _pieces(self, answer: Generation) -> Iterator[Json]:
        """What follows in a stream: the role, words, and at last how the answer ended."""
        open_end: Json = {"finish_reason": None, "logprobs": None}
        if self._chat:
            yield {"delta": {"role": "assistant", "content": ""}} | open_end
        for word in WORD.findall(answer.text or ""):
            yield self._piece(word) | open_end
        yield self._piece("") | self._end(answer)

    def _piece(self, text: str) -> Json:
        return {"delta": {"content": text} if text else {}} if self._chat else {"text": text}

    def _end(self, answer: Generation) -> Json:
        """What is known of an answer beside its text."""
        return {
            "finish_reason": FINISH_REASONS[answer.finish],
            "logprobs": self._logprobs(answer),
            "powerblend": {
                "seed": self.seed,
                "log_p": answer.log_p,
                "log_t": answer.log_t,
                "moves": answer.moves,
                "accepted": answer.accepted,
                "decoded_tokens": answer.decoded_tokens,
            },
        }

    def _logprobs(self, answer: Generation) -> Json | None:
        """Log p of each token, the EOS left out as in the text; None if they were not asked for."""
        if not self.body.wants_logprobs:
            return None
        count = answer.n_tokens - (answer.finish == "eos")
        decode = self.tokenizer.decode
        tokens = [decode([token], skip_special_tokens=True) for token in answer.tokens[:count]]
        log_p = list(answer.token_log_p or ())[:count]
        if self._chat:
            return {"content": list(map(_token, tokens, log_p)), "refusal": None}
        lengths = [len(token) for token in tokens]
        return {
            "tokens": tokens,
            "token_logprobs": log_p,
            "top_logprobs": None,
            "text_offset": [sum(lengths[:place]) for place in range(count)],
        }

    def _usage(self) -> Json:
        """Tokens of the prompts and of the answers; and how many were drawn for these."""
        prompt = sum(answer.prompt_tokens for answer in self.answers[:: self.body.n])
        completion = sum(answer.n_tokens for answer in self.answers)
        return {
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "total_tokens": prompt + completion,
            "decoded_tokens": sum(answer.decoded_tokens for answer in self.answers),
        }


def error(message: str, kind: str, param: str | None = None, code: str | None = None) -> Json:
    """The API's form of an error."""
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def _event(content: Json) -> str:
    return f"data: {json.dumps(content, ensure_ascii=False)}\n\n"


def _token(text: str, log_p: float) -> Json:
    """A token with its log p; its bytes only where it is no part of a character."""
    whole = "\ufffd" not in text
    spelled = list(text.encode()) if whole else None
    return {"token": text, "logprob": log_p, "bytes": spelled, "top_logprobs": []}
