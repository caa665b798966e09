"""What listens: the OpenAI API's routes, its errors, who may ask, and who is still there."""

import asyncio
import contextlib
import logging
import secrets
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from fastapi import Depends, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response, StreamingResponse
from pydantic import ValidationError
from starlette.exceptions import HTTPException

from powerblend.api.generation import Generation, requests_of
from powerblend.engine.model import Model
from powerblend.infrastructure.sentences import sentences
from powerblend.samplers import Sampler
from powerblend.server import responses
from powerblend.server.conditions import Conditions, UnknownModel
from powerblend.server.engine_thread import EngineThread, QueueFull, Stopped, Ticket
from powerblend.server.limits import BodyLimits
from powerblend.server.requests import Body, ChatBody, CompletionBody
from powerblend.server.responses import Answered

log = logging.getLogger(__name__)

RETRY_AFTER = "1"
"""Seconds after which a client may ask again that found the queue full."""

CLIENT_IS_GONE = 499
"""A status that nobody reads."""


class Refused(Exception):
    """A request that gets an error of the API."""

    def __init__(self, status: int, message: str, code: str | None = None) -> None:
        super().__init__(message)
        self.status, self.message, self.code = status, message, code


class Service:
    """A model that answers requests: what the routes share."""

    def __init__(
        self, model: Model, conditions: Conditions, engine: EngineThread, timeout: float
    ) -> None:
        self.conditions, self.engine = conditions, engine
        self._model, self._timeout = model, timeout
        words = model.tokenizer.get_vocab() if model.tokenizer else [""]
        self._longest_token = max(map(len, words))

    async def answer(self, body: Body, prompts: Sequence[Any], request: Request) -> Response:
        """The response to a request for answers."""
        seed = secrets.randbelow(2**31) if body.seed is None else body.seed
        tickets = await asyncio.to_thread(self._tickets, body, prompts, seed)
        self.engine.submit(tickets)
        try:
            answers = await self._wait(tickets, request)
        finally:
            for ticket in tickets:
                ticket.answer.cancel()
        if answers is None:
            return Response(status_code=CLIENT_IS_GONE)
        answered = Answered(body, answers, seed, self._model.tokenizer)
        if body.stream:
            return StreamingResponse(answered.events(), media_type="text/event-stream")
        return JSONResponse(answered.whole())

    def _tickets(self, body: Body, prompts: Sequence[Any], seed: int) -> list[Ticket]:
        """A ticket for every answer: of `sample`'s random numbers for these prompts."""
        sampler = self.conditions.sampler(body)
        self._check_count(len(prompts) * body.n, sampler.strings)
        self._check_size(prompts)
        requests = requests_of(self._model, prompts, sampler, body.n)
        return [Ticket(request, sampler, seed) for request in requests]

    def _check_count(self, answers: int, strings: int) -> None:
        most = self.engine.max_waiting
        if answers * strings > most:
            each = f" of {strings} strings each" if strings > 1 else ""
            raise Refused(400, f"it asks for {answers} answers{each}, but only {most} may wait")

    def _check_size(self, prompts: Sequence[Any]) -> None:
        """Refuse what cannot fit, however it is cut into tokens: to do that may take minutes."""
        positions = self._model.positions
        if positions is None:
            return
        for texts in map(_texts, prompts):
            characters = sum(map(len, texts))
            if len(texts) > positions or characters > positions * self._longest_token:
                raise Refused(
                    400,
                    f"a prompt has {characters} characters in {len(texts)} parts, but the model "
                    f"has positions for {positions} tokens; shorten it",
                )

    async def _wait(self, tickets: Sequence[Ticket], request: Request) -> list[Generation] | None:
        """The answers, once all are there; None if the client is gone before."""
        answers = asyncio.gather(*(asyncio.wrap_future(ticket.answer) for ticket in tickets))
        gone = asyncio.create_task(_disconnected(request))
        either: set[asyncio.Future[Any]] = {answers, gone}
        try:
            await asyncio.wait(either, timeout=self._timeout, return_when=asyncio.FIRST_COMPLETED)
            if answers.done():
                return list(answers.result())
            if gone.done():
                return None
            raise Refused(504, f"no answer within {self._timeout:g} s", code="timeout")
        finally:
            gone.cancel()
            answers.add_done_callback(_look_at)
            answers.cancel()


def _texts(prompt: Any) -> list[str]:
    """What a tokenizer would have to read of a prompt: none of token ids."""
    if isinstance(prompt, str):
        return [prompt]
    return [part["content"] for part in prompt if isinstance(part, dict)]


def _look_at(answers: "asyncio.Future[Any]") -> None:
    """So that what nobody waits for any more is not logged as an error that nobody saw."""
    if not answers.cancelled():
        answers.exception()


async def _disconnected(request: Request) -> None:
    """Wait until the client has closed its connection."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def application(
    model: Model,
    engine: EngineThread,
    *,
    name: str,
    named: Mapping[str, Sampler] | None = None,
    timeout: float = 600.0,
    key: str | None = None,
) -> FastAPI:
    """The server of a model.

    Parameters
    ----------
    model, engine
        From `load_model`, and the thread that runs it, which the server starts and stops.
    name
        What clients call the model.
    named
        Conditions that clients may ask for as ``name:condition``.
    timeout
        Seconds that a request may wait for its answers.
    key
        What clients must send as their API key; None: nothing.
    """
    service = Service(model, Conditions(name, named or {}), engine, timeout)

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        engine.start()
        yield
        await asyncio.to_thread(engine.stop)

    async def check_key(request: Request) -> None:
        given = request.headers.get("authorization", "").removeprefix("Bearer ")
        if key is not None and not secrets.compare_digest(given.encode(), key.encode()):
            raise Refused(401, "the API key is missing or wrong", code="invalid_api_key")

    app = FastAPI(lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)
    app.add_middleware(BodyLimits)
    _add_errors(app)
    _add_routes(app, service, [Depends(check_key)])
    return app


def _add_routes(app: FastAPI, service: Service, allowed: Sequence[Any]) -> None:

    @app.post("/v1/chat/completions", dependencies=allowed)
    async def chat(body: ChatBody, request: Request) -> Response:
        return await service.answer(body, [[m.turn for m in body.messages]], request)

    @app.post("/v1/completions", dependencies=allowed)
    async def completions(body: CompletionBody, request: Request) -> Response:
        return await service.answer(body, body.prompts, request)

    started = int(time.time())

    def model_entry(name: str) -> responses.Json:
        return {"id": name, "object": "model", "created": started, "owned_by": "powerblend"}

    @app.get("/v1/models", dependencies=allowed)
    async def models() -> responses.Json:
        return {"object": "list", "data": [model_entry(n) for n in service.conditions.names]}

    @app.get("/v1/models/{name:path}", dependencies=allowed)
    async def one_model(name: str) -> responses.Json:
        service.conditions.check(name)
        return model_entry(name)

    @app.get("/health")
    async def health() -> dict[str, int]:
        return {"running": service.engine.running, "waiting": service.engine.waiting}


def _add_errors(app: FastAPI) -> None:
    """Say what goes wrong in the API's own form."""

    def invalid(_: Request, wrong: Any) -> Response:
        problems = list(sentences(wrong))
        place = [str(key) for key in wrong.errors()[0]["loc"] if key != "body"]
        said = "\n".join(problem.removeprefix("body.") for problem in problems)
        return _error(400, said, param=".".join(place[:1]) or None)

    handlers: dict[type[Exception], Any] = {
        RequestValidationError: invalid,
        ValidationError: invalid,
        ValueError: lambda _, wrong: _error(400, str(wrong)),
        Refused: lambda _, wrong: _error(wrong.status, wrong.message, code=wrong.code),
        UnknownModel: lambda _, wrong: _error(404, str(wrong), "model", "model_not_found"),
        QueueFull: lambda *_: _error(429, "too many answers wait; ask again later", None, "busy"),
        Stopped: lambda *_: _error(503, "the server ends"),
        HTTPException: lambda _, wrong: _error(wrong.status_code, str(wrong.detail)),
        Exception: lambda _, wrong: _error(500, f"{type(wrong).__name__}: {wrong}"),
    }
    for kind, handler in handlers.items():
        app.add_exception_handler(kind, handler)


MAX_MESSAGE = 2000
"""Characters of what an error says: it names values, which may be as long as a body."""

KINDS = {401: "authentication_error", 429: "rate_limit_error"}
"""The API's words for what is wrong; by default invalid_request_error, from 500 on server_error."""


def _error(
    status: int, message: str, param: str | None = None, code: str | None = None
) -> Response:
    if len(message) > MAX_MESSAGE:
        message = f"{message[:MAX_MESSAGE]} …"
    kind = KINDS.get(status, "invalid_request_error" if status < 500 else "server_error")
    headers = {"Retry-After": RETRY_AFTER} if status == 429 else None
    return JSONResponse(responses.error(message, kind, param, code), status, headers)
