"""The server as its clients see it: the real `openai` client, over a socket."""

import asyncio
import gc
import math
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

for package in ("fastapi", "uvicorn", "openai"):
    pytest.importorskip(package)

import httpx2
import openai
import psutil
import yaml

import tiny
from powerblend import Generation, Model, load_model, sample
from powerblend.api.open_run import OpenRun
from powerblend.cli import main
from powerblend.jobs import serve
from powerblend.jobs.serve import conditions
from powerblend.samplers import Sampler, parse_sampler
from powerblend.server import engine_thread, limits
from powerblend.server.application import application
from powerblend.server.engine_thread import EngineThread
from served import listening, wait_for
from small_study import ROOT, environment

if TYPE_CHECKING:
    from fastapi import FastAPI

KEY = "secret"
CHAT: list[Any] = [{"role": "user", "content": "What is 12 + 30?"}]
POWER: dict[str, Any] = {"sampler": "power", "alpha": 4.0, "blocks": 4, "steps": 1}
DECODING = POWER | {"max_new_tokens": 8}
PARTICLES = {"sampler": "particles", "alpha": 2, "blocks": 2, "particles": 10**9}
PER_ROUND, ROUNDS = 80, 10
GROWTH = 4.0
"""MiB that the later half of the rounds may add; 400 requests with 800 answers."""


class Served(NamedTuple):
    model: Model
    engine: EngineThread
    address: str

    @property
    def base(self) -> str:
        return f"{self.address}/v1"

    @property
    def client(self) -> openai.OpenAI:
        return openai.OpenAI(base_url=self.base, api_key=KEY, max_retries=0)

    def chat(self, **changes: Any) -> Any:
        given = {"model": "tiny", "messages": CHAT, "max_tokens": 8} | changes
        return self.client.chat.completions.create(**given)

    def sampled(self, samples: int, seed: int, messages: Any = CHAT) -> list[Generation]:
        return sample(self.model, [messages], DECODING, samples=samples, seed=seed)[0]

    def idle(self) -> bool:
        return self.engine.running == self.engine.waiting == 0


def app(model: Model, engine: EngineThread, **changes: Any) -> "FastAPI":
    named = {"ps": parse_sampler(DECODING)}
    return application(model, engine, **({"name": "tiny", "named": named, "key": KEY} | changes))


@pytest.fixture(scope="module")
def model() -> Model:
    words = tiny.tokenizer()
    return load_model(tiny.transformer("llama", vocabulary=len(words)), tokenizer=words)


@pytest.fixture(scope="module")
def served(model: Model) -> Iterator[Served]:
    engine = EngineThread(model, rows=16)
    with listening(app(model, engine)) as address:
        yield Served(model, engine, address)


def test_a_chat_has_the_answers_of_sample(served: Served) -> None:
    answer = served.chat(n=3, seed=5, extra_body=POWER)
    expected = served.sampled(3, 5)
    assert [choice.message.content for choice in answer.choices] == [g.text for g in expected]
    ends = {"eos": "stop", "length": "length"}
    assert [choice.finish_reason for choice in answer.choices] == [ends[g.finish] for g in expected]
    assert answer.usage.prompt_tokens == expected[0].prompt_tokens
    assert answer.usage.completion_tokens == sum(g.n_tokens for g in expected)
    for choice, generation in zip(answer.choices, expected, strict=True):
        assert choice.powerblend["log_p"] == pytest.approx(generation.log_p, abs=1e-9)
        assert choice.powerblend["accepted"] == generation.accepted


def test_a_condition_has_a_name(served: Served) -> None:
    assert [m.id for m in served.client.models.list()] == ["tiny", "tiny:ps"]
    assert served.client.models.retrieve("tiny:ps").id == "tiny:ps"
    # Clients send a temperature unasked.
    named = served.chat(model="tiny:ps", seed=7, temperature=0, max_tokens=openai.omit)
    assert named.choices[0].message.content == served.sampled(1, 7)[0].text
    shorter = served.chat(model="tiny:ps", seed=7, max_tokens=4, extra_body={"blocks": 2})
    assert shorter.usage.completion_tokens <= 4


def test_without_a_condition_the_temperature_decides(served: Served) -> None:
    def text(**changes: Any) -> str:
        return str(served.chat(seed=3, **changes).choices[0].message.content)

    def expected(decoding: dict[str, Any]) -> str | None:
        return sample(served.model, [CHAT], decoding | {"max_new_tokens": 8}, seed=3)[0][0].text

    assert text(temperature=0) == expected({"sampler": "greedy"})
    assert text(temperature=0.5) == expected({"sampler": "temperature", "temperature": 0.5})
    assert text() == expected({"sampler": "temperature", "temperature": 1.0})


def test_completions_of_several_prompts(served: Served) -> None:
    given = {"model": "tiny", "max_tokens": 8, "seed": 1, "n": 2, "extra_body": POWER}
    texts = served.client.completions.create(prompt=["One", "Two"], **given)
    ids = [served.model.tokenizer(prompt)["input_ids"] for prompt in ("One", "Two")]
    tokens = served.client.completions.create(prompt=ids, **given)
    found = [choice.text for choice in texts.choices]
    assert found == [choice.text for choice in tokens.choices]
    expected = sample(served.model, ids, DECODING, samples=2, seed=1)
    assert found == [generation.text for row in expected for generation in row]
    assert texts.usage.prompt_tokens == sum(map(len, ids))


def test_log_probabilities_are_those_of_the_answer(served: Served) -> None:
    for choice in served.chat(n=4, seed=2, logprobs=True, extra_body=POWER).choices:
        content = choice.logprobs.content
        assert "".join(token.token for token in content) == choice.message.content
        total = sum(token.logprob for token in content)
        if choice.finish_reason == "length":
            assert total == pytest.approx(choice.powerblend["log_p"], abs=1e-9)
        else:  # EOS is no part of the text, but of the answer
            assert total > choice.powerblend["log_p"]
    given = {"model": "tiny", "prompt": "One", "max_tokens": 8, "seed": 2}
    choice = served.client.completions.create(logprobs=0, **given).choices[0]
    assert "".join(choice.logprobs.tokens) == choice.text
    lengths = [len(token) for token in choice.logprobs.tokens]
    assert choice.logprobs.text_offset == [sum(lengths[:i]) for i in range(len(lengths))]
    assert served.client.completions.create(**given).choices[0].logprobs is None


def test_a_stream_is_the_final_text_in_pieces(served: Served) -> None:
    whole = served.chat(n=2, seed=9, extra_body=POWER)
    options = {"stream": True, "stream_options": {"include_usage": True}}
    *chunks, last = served.chat(n=2, seed=9, extra_body=POWER, **options)
    texts, ends = ["", ""], {}
    for choice in (choice for chunk in chunks for choice in chunk.choices):
        texts[choice.index] += choice.delta.content or ""
        ends |= {choice.index: choice.finish_reason} if choice.finish_reason else {}
    assert texts == [choice.message.content for choice in whole.choices]
    assert ends == {choice.index: choice.finish_reason for choice in whole.choices}
    assert (last.choices, last.usage) == ([], whole.usage)
    pieces = served.client.completions.create(
        model="tiny", prompt="One", max_tokens=8, seed=2, stream=True
    )
    given = {"model": "tiny", "prompt": "One", "max_tokens": 8, "seed": 2}
    text = served.client.completions.create(**given).choices[0].text
    assert "".join(choice.text for chunk in pieces for choice in chunk.choices) == text


@pytest.mark.parametrize(
    ("changes", "status", "said"),
    [
        ({"model": "other"}, 404, "there is no model 'other'; use one of tiny, tiny:ps"),
        ({"extra_body": {"sampler": "pover"}}, 400, "use one of greedy, temperature, power"),
        ({"extra_body": POWER | {"gamma": 1}}, 400, "gamma: unknown key (its value is 1)"),
        ({"extra_body": POWER, "max_tokens": 9}, 400, "which does not divide max_new_tokens 9"),
        ({"extra_body": {"alpha": 4.0}}, 400, "sampler is None; use one of"),
        ({"max_tokens": 300}, 400, "the model has positions for 256"),
        ({"top_p": 0.9}, 400, "top_p: it is 0.9, but answers are drawn from the whole"),
        ({"frequency_penalty": 1}, 400, "frequency_penalty: it is 1"),
        ({"n": 0}, 400, "n: Input should be greater than or equal to 1"),
        ({"messages": []}, 400, "messages: List should have at least 1 item"),
        ({"messages": [{"role": "user"}]}, 400, "messages.0.content: missing"),
        ({"logprobs": True, "top_logprobs": 3}, 400, "top_logprobs"),
        ({"max_tokens": -1}, 400, "max_tokens: Input should be greater than 0 (it is -1)"),
        ({"n": 10**9}, 400, "n: Input should be less than or equal to 128"),
        ({"stop": [f"s{n}" for n in range(100)]}, 400, "stop: it has 290 bytes in all; use at mo"),
        ({"stop": "x" * 100_000}, 400, "stop: it has 100000 bytes in all; use at most 128"),
        ({"messages": [{"role": "tool", "content": "3", "tool_call_id": "1"}]}, 400, "0.role"),
        ({"tools": [{"type": "function", "function": {"name": "f"}}]}, 400, "tools"),
        ({"response_format": {"type": "json_object"}}, 400, "response_format.type"),
        ({"logit_bias": {"5": 1}}, 400, "logit_bias"),
        ({"extra_body": {"functions": []}}, 400, "functions: no parameter of this server"),
        ({"extra_body": POWER | {"tries": 10**9}}, 400, "1 answers of 1000000000 strings each"),
        ({"extra_body": PARTICLES}, 400, "1 answers of 1000000000 strings each"),
        (
            {"extra_body": POWER | {"blend": {"source": "layer", "layer": 99, "beta": 0.1}}},
            400,
            "blend layer is 99",
        ),
        (
            {"extra_body": POWER | {"blend": {"source": "draft", "beta": 0.1}}},
            400,
            "the blend's source is a draft, but the model has none",
        ),
    ],
)
def test_bad_requests_get_the_errors_of_the_api(
    served: Served, changes: dict[str, Any], status: int, said: str
) -> None:
    with pytest.raises(openai.APIStatusError) as caught:
        served.chat(**changes)
    assert caught.value.status_code == status
    assert isinstance(caught.value.body, dict)
    assert caught.value.body["type"] == "invalid_request_error"
    assert said in caught.value.body["message"]


CUT: dict[str, Any] = DECODING | {"cut": "entropy"}
TEMPERED: dict[str, Any] = {"sampler": "temperature", "max_new_tokens": 8}
GROWN: dict[str, Any] = PARTICLES | {"max_new_tokens": 8, "particles": 4}


def blended(beta: float, **changes: Any) -> dict[str, Any]:
    return DECODING | {"blend": {"source": "layer", "layer": 0, "beta": beta}} | changes


@pytest.mark.parametrize(
    ("decoding", "said"),
    [
        (DECODING | {"alpha": 1e308}, "alpha: Input should be less than or equal to 1000000000"),
        (DECODING | {"alpha": 10**400}, "alpha: Input should be"),
        (DECODING | {"alpha": 3, "ladder": [2.0, 1e308]}, "ladder.1: Input should be less than"),
        (CUT | {"cut_power": 1e9}, "cut_power: Input should be less than or equal to 100"),
        (blended(1e308), "beta: Input should be less than or equal to 1000"),
        (blended(-1e308), "beta: Input should be greater than or equal to -1000"),
        (
            DECODING | {"blend": {"source": "random", "beta": 0.1, "seed": 10**40}},
            "seed: Input should be less than 18446744073709551616",
        ),
        (DECODING | {"steps": 10**30}, "steps: Input should be less than or equal to 1000000000"),
        (DECODING | {"tries": 10**30}, "tries: Input should be less than or equal to 1000000000"),
        (DECODING | {"max_new_tokens": 10**30}, "max_new_tokens: Input should be less than or"),
        (DECODING | {"blocks": 10**30}, f"blocks is {10**30}, which does not divide"),
        (TEMPERED | {"temperature": 1e308}, "temperature: Input should be less than or equal to"),
        (TEMPERED | {"temperature": 1e-308}, "temperature: Input should be greater than or equal"),
        (TEMPERED | {"alpha": 1e308}, "alpha is 1e+308; use a number from 1e-09 to 1e+09"),
        (TEMPERED | {"alpha": 10**400}, "use a number from 1e-09 to 1e+09"),
        (TEMPERED | {"alpha": 1e-300}, "alpha is 1e-300; use a number from 1e-09 to 1e+09"),
        (GROWN | {"alpha": 1e308}, "alpha: Input should be less than or equal to 1000000000"),
        (GROWN | {"particles": 10**30}, "particles: Input should be less than or equal to"),
        (GROWN | {"sweeps": 10**30}, "sweeps: Input should be less than or equal to 1000000000"),
    ],
)
def test_numbers_too_large_to_compute_with_are_refused_everywhere(
    served: Served, decoding: dict[str, Any], said: str, tmp_path: Path
) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        served.chat(extra_body=decoding, max_tokens=openai.omit)
    assert isinstance(caught.value.body, dict)
    assert said in caught.value.body["message"]
    with pytest.raises(ValueError, match=re.escape(said)):
        sample(served.model, [CHAT], decoding)
    study = tmp_path / "study.yaml"
    study.write_text(yaml.safe_dump({"conditions": {"absurd": decoding}}))
    with pytest.raises(ValueError, match=re.escape(said)) as wrong:
        conditions(study, has_draft=False)
    assert str(wrong.value).startswith(f"{study}: conditions.absurd")


@pytest.mark.parametrize(
    "decoding",
    [
        DECODING | {"alpha": 1e9, "ladder": [1e8]},
        CUT | {"alpha": 1e9, "cut_power": 100},
        blended(1000, alpha=1e9),
        blended(-1000, alpha=1e9, proposal="target", tries=2),
        TEMPERED | {"temperature": 1e-9},
        TEMPERED | {"temperature": 1e9},
        GROWN | {"alpha": 1e9},
    ],
)
def test_the_largest_numbers_that_are_allowed_have_an_answer(
    served: Served, decoding: dict[str, Any]
) -> None:
    (choice,) = served.chat(extra_body=decoding, max_tokens=openai.omit).choices
    assert math.isfinite(choice.powerblend["log_p"])
    assert math.isfinite(choice.powerblend["log_t"])


@pytest.mark.parametrize("speculate", ["off", "auto"])
def test_the_command_says_whether_tokens_are_guessed(
    speculate: str, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    engines, runs = list[EngineThread](), list[OpenRun]()

    def made(*arguments: Any) -> EngineThread:
        engines.append(EngineThread(*arguments))
        return engines[0]

    def answered(app: "FastAPI", **_: Any) -> None:
        with listening(app) as address:
            client = openai.OpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0)
            many = POWER | {"blocks": 1, "steps": 20}
            client.chat.completions.create(
                model="tiny", messages=CHAT, seed=1, max_tokens=32, extra_body=many
            )
            runs.extend(engines[0]._batches.values())

    monkeypatch.setattr(serve, "EngineThread", made)
    monkeypatch.setattr(serve, "load_model", lambda *_, **__: model)
    monkeypatch.setattr(serve.uvicorn, "run", answered)
    main(["serve", "tiny", "--speculate", speculate])
    (run,) = runs
    assert run.tally.moves == 20
    assert (run.tally.guessed > 0) == (speculate == "auto")


def test_stop_strings_are_those_of_the_engine_or_refused(served: Served) -> None:
    def asked() -> Any:
        return served.chat(seed=9, stop=["a", "e"], max_tokens=32, logprobs=True)

    if "stop" not in Sampler.model_fields:
        with pytest.raises(openai.BadRequestError, match="stop: unknown key"):
            asked()
        return
    decoding: dict[str, Any] = {"sampler": "temperature", "temperature": 1.0, "max_new_tokens": 32}
    ((expected,),) = sample(served.model, [CHAT], decoding | {"stop": ["a", "e"]}, seed=9)
    choice = asked().choices[0]
    assert choice.message.content == expected.text
    assert choice.finish_reason == ("length" if expected.finish == "length" else "stop")
    assert not set("ae") & set(choice.message.content)


def test_what_is_no_route_and_no_json_is_an_error_of_the_api_too(served: Served) -> None:
    given = {"Authorization": f"Bearer {KEY}"}
    assert httpx2.get(f"{served.base}/engines", headers=given).json()["error"]["message"]
    url = f"{served.base}/chat/completions"
    damaged = httpx2.post(url, headers=given | {"Content-Type": "application/json"}, content="{")
    assert damaged.status_code == 400
    assert damaged.json()["error"]["type"] == "invalid_request_error"
    half = '{"model": "tiny", "messages": [{"role": "user", "content": "\\ud800"}]}'
    refused = httpx2.post(url, headers=given | {"Content-Type": "application/json"}, content=half)
    assert refused.status_code == 400
    assert "0.content: it has half of a character" in refused.json()["error"]["message"]
    # A page in a browser may send text to any address without asking.
    text = httpx2.post(url, headers=given | {"Content-Type": "text/plain"}, content="{}")
    assert text.status_code == 400


def test_what_changes_no_answer_is_taken(served: Served) -> None:
    neutral = {"tool_choice": "auto", "parallel_tool_calls": False, "store": False, "metadata": {}}
    neutral |= {"service_tier": "auto", "modalities": ["text"], "tools": [], "logit_bias": {}}
    empty = {"n": None, "stream": None, "logprobs": None, "stop": None, "temperature": None}
    answer = served.chat(seed=5, extra_body=POWER | neutral | empty)
    assert answer.choices[0].message.content == served.sampled(1, 5)[0].text


def test_a_prompt_that_is_none_is_refused(served: Served) -> None:
    with pytest.raises(openai.BadRequestError, match="prompt: there is none; give a text"):
        served.client.completions.create(model="tiny", prompt=[])


def sent(served: Served, *parts: bytes, length: int) -> bytes:
    """What a request over a plain socket gets, whose body has these parts and no more."""
    host, port = served.address.removeprefix("http://").split(":")
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\n"
    head += f"Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        for part in (head.encode(), *parts):
            connection.sendall(part)
        got = b""
        while not got.endswith(b"}}"):
            got += connection.recv(4096)
        return got


def test_a_body_that_does_not_come_or_never_ends_is_given_up(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "MAX_SECONDS", 0.2)
    late = sent(served, b'{"model":', length=100)
    assert late.startswith(b"HTTP/1.1 408")
    assert b'"error":{"message":"the body is not there after 0.2 s"' in late
    monkeypatch.setattr(limits, "MAX_BYTES", 2**20)
    large = sent(served, b"x" * (2**20 + 1), length=2**21)
    assert large.startswith(b"HTTP/1.1 413")
    assert b"the body has more than 1 MiB" in large


def test_a_client_that_goes_away_in_a_stream_harms_no_other(served: Served) -> None:
    stream = served.chat(n=8, seed=9, stream=True, extra_body=POWER)
    next(iter(stream))
    stream.close()
    assert served.chat(seed=5, extra_body=POWER).choices[0].message.content == (
        served.sampled(1, 5)[0].text
    )
    wait_for(served.idle)


def test_who_has_not_the_key_is_turned_away(served: Served) -> None:
    stranger = openai.OpenAI(base_url=served.base, api_key="guess", max_retries=0)
    with pytest.raises(openai.AuthenticationError, match="the API key is missing or wrong"):
        stranger.models.list()


def test_a_full_queue_says_so(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(served.engine, "max_waiting", 2)
    with pytest.raises(openai.BadRequestError, match="it asks for 3 answers, but only 2 may wait"):
        served.chat(n=3)
    monkeypatch.setattr(type(served.engine), "waiting", 1)
    with pytest.raises(openai.RateLimitError, match="too many answers wait") as caught:
        served.chat(n=2)
    assert caught.value.response.headers["retry-after"] == "1"


def slowed(monkeypatch: pytest.MonkeyPatch, seconds: float = 0.05) -> None:
    """Let every step of a batch take long."""
    step: Callable[[OpenRun], Any] = OpenRun.step

    def slow(run: OpenRun) -> Any:
        time.sleep(seconds)
        return step(run)

    monkeypatch.setattr(OpenRun, "step", slow)


def test_a_client_that_goes_away_frees_its_rows(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    slowed(monkeypatch)
    long = POWER | {"steps": 20}  # seconds of work
    with pytest.raises(openai.APITimeoutError):
        served.chat(n=20, max_tokens=64, extra_body=long, timeout=0.5)
    wait_for(served.idle, 1.0)


def test_a_request_that_takes_too_long_is_given_up(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    slowed(monkeypatch)
    engine = EngineThread(model, rows=2)
    with listening(app(model, engine, timeout=0.2)) as address:
        hasty = Served(model, engine, address)
        with pytest.raises(openai.APIStatusError, match=r"no answer within 0\.2 s") as caught:
            hasty.chat(n=4, max_tokens=64, extra_body=POWER | {"steps": 20})
        assert caught.value.status_code == 504
        wait_for(hasty.idle, 1.0)


def test_a_step_that_fails_fails_its_requests_alone(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> Any:
        raise RuntimeError("the device is gone")

    with monkeypatch.context() as patched:
        patched.setattr(Model, "step", broken)
        with pytest.raises(openai.InternalServerError, match="the device is gone"):
            served.chat(extra_body=POWER)
    assert served.chat(seed=5, extra_body=POWER).choices[0].message.content == (
        served.sampled(1, 5)[0].text
    )


def test_more_ways_of_decoding_than_batches_are_all_answered(served: Served) -> None:
    async def ask() -> list[Any]:
        async with openai.AsyncOpenAI(base_url=served.base, api_key=KEY) as client:
            asked = [
                client.chat.completions.create(
                    model="tiny",
                    messages=CHAT,
                    max_tokens=8,
                    seed=4,
                    extra_body=POWER | {"alpha": 1.0 + number},
                )
                for number in range(engine_thread.MAX_BATCHES + 2)
            ]
            return await asyncio.gather(*asked)

    answers = asyncio.run(ask())
    for number, answer in enumerate(answers):
        decoding = DECODING | {"alpha": 1.0 + number}
        expected = sample(served.model, [CHAT], decoding, seed=4)[0][0].text
        assert answer.choices[0].message.content == expected
    assert len(served.engine._batches) <= engine_thread.MAX_BATCHES


@pytest.mark.parametrize("count", [40, pytest.param(200, marks=pytest.mark.slow)])
def test_many_at_once_with_some_cancelled(served: Served, count: int) -> None:
    """Whoever stays has the answer of `sample`, and nothing is left of those who went."""
    chats = [[{"role": "user", "content": f"What is {n} + 30?"}] for n in range(count)]

    async def ask() -> list[Any]:
        async with openai.AsyncOpenAI(base_url=served.base, api_key=KEY, max_retries=0) as client:
            asked = [
                asyncio.create_task(
                    client.chat.completions.create(
                        model="tiny:ps", messages=chat, seed=number, max_tokens=8
                    )
                )
                for number, chat in enumerate(chats)
            ]
            await asyncio.wait({asked[1]})
            for task in asked[::5]:
                task.cancel()
            return await asyncio.gather(*asked, return_exceptions=True)

    answers = asyncio.run(ask())
    cancelled = sum(isinstance(answer, asyncio.CancelledError) for answer in answers)
    assert 0 < cancelled <= count // 5
    stayed = [n for n in range(count) if not isinstance(answers[n], asyncio.CancelledError)]
    for number in stayed[:: count // 8]:
        expected = served.sampled(1, number, chats[number])[0]
        assert answers[number].choices[0].message.content == expected.text
    failed = [a for a in answers if isinstance(a, Exception)]
    assert not failed
    wait_for(served.idle)
    assert not served.engine._tickets


@pytest.mark.slow
def test_memory_stays_flat(served: Served) -> None:
    """Rounds of requests of which some are cancelled, and what each of them leaves behind."""

    async def ask() -> None:
        async with openai.AsyncOpenAI(base_url=served.base, api_key=KEY, max_retries=0) as client:
            asked = [
                asyncio.create_task(
                    client.chat.completions.create(
                        model="tiny:ps", messages=CHAT, seed=number, n=1 + number % 3
                    )
                )
                for number in range(PER_ROUND)
            ]
            await asyncio.wait({asked[1]})
            for task in asked[::5]:
                task.cancel()
            await asyncio.gather(*asked, return_exceptions=True)

    resident = []
    for _ in range(ROUNDS):
        asyncio.run(ask())
        wait_for(served.idle)
        gc.collect()
        resident.append(psutil.Process().memory_info().rss / 2**20)
    print("MiB after each round of", PER_ROUND, *(f"{mib:.1f}" for mib in resident))
    # The first rounds fill what is kept for all: threads, allocators' pools, caches of code.
    assert max(resident[ROUNDS // 2 :]) - resident[ROUNDS // 2 - 1] < GROWTH


def test_the_lines_of_the_page_work(served: Served) -> None:
    page = (ROOT / "docs" / "server.md").read_text(encoding="utf-8")
    lines = page.split("```python\n")[1].split("```")[0]
    for named, here in (
        ("http://127.0.0.1:8000/v1", served.base),
        ('"smollm2-135m-instruct"', '"tiny"'),
        ('api_key="none"', f'api_key="{KEY}"'),
    ):
        assert named in lines
        lines = lines.replace(named, here)
    names: dict[str, Any] = {}
    exec(lines, names)
    decoding = POWER | {"max_new_tokens": 32}
    expected = sample(served.model, [CHAT], decoding, samples=2, seed=0)[0]
    assert [c.message.content for c in names["answer"].choices] == [g.text for g in expected]


def test_a_study_names_conditions(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    named = conditions(ROOT / "config.yaml", has_draft=False)
    assert list(named) == ["greedy", "base", "temp", "ps", "blend_greedy", "blend_ps"]
    assert named["ps"].max_new_tokens == 1024
    assert "draft_blend_ps is left out: it needs a draft (--draft)" in caplog.text
    assert "draft_blend_ps" in conditions(ROOT / "config.yaml", has_draft=True)
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text("conditions: {ps: {sampler: power, alpha: 0.5, max_new_tokens: 8}}")
    with pytest.raises(ValueError, match=r"wrong\.yaml: conditions\.ps\.alpha: .* \(it is 0\.5\)"):
        conditions(wrong, has_draft=False)


@pytest.mark.slow
def test_the_command_serves_until_it_is_told_to_end(tmp_path: Path) -> None:
    """`powerblend serve MODEL --port PORT --config PATH`, as a newcomer types it."""
    directory = tiny.save(tmp_path / "model")
    (tmp_path / "serve.yaml").write_text(
        "decoding: {max_new_tokens: 8, alpha: 4.0, blocks: 4, steps: 1}\n"
        "conditions:\n  ps: {sampler: power}\n"
    )
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "powerblend", "serve", str(directory), "--port", str(port)]
    command += ["--config", "serve.yaml"]
    with subprocess.Popen(
        command, cwd=tmp_path, env=environment(), stderr=subprocess.PIPE, text=True
    ) as server:
        assert server.stderr is not None
        for line in server.stderr:
            if f"at http://127.0.0.1:{port}/v1" in line:
                break
        client = openai.OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="none")
        answer = client.chat.completions.create(model="model:ps", messages=CHAT, seed=1)
        assert answer.choices[0].powerblend["moves"] > 0
        server.send_signal(signal.SIGTERM)
        assert server.wait(30) in (0, 143)
