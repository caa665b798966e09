"""What the server costs: requests a second against `sample` on the same prompts, by clients.

The server runs in a process of its own. Each client asks for one answer at a time, until all
prompts are answered; `sample` has as many rows as there are clients. All answers are the same. The
sides take turns at being first. About four minutes on one core.
"""

import asyncio
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import openai
import psutil
from bench import demo_model, median, parser, prompts, write_table

from powerblend import Model, load_model, sample
from powerblend.study.prompts import Messages

CLIENTS = {1: 3, 16: 24, 64: 80}
"""Requests by the number of clients."""

POWER = {"sampler": "power", "alpha": 4.0, "blocks": 2, "steps": 1}
MAX_TOKENS, SEED, PORT = 16, 7, 8765
NAME = "demo"


class Timed(NamedTuple):
    """Seconds on the clock and of the processor that made the answers, and the answers."""

    seconds: float
    cpu_seconds: float
    texts: list[str]


def main() -> None:
    """Measure and write the table."""
    options = parser(__doc__, repeats=2)
    options.add_argument("--clients", type=int, nargs="+", choices=CLIENTS, default=list(CLIENTS))
    given = options.parse_args()
    model = load_model(demo_model())
    with served() as server:
        rows = []
        for clients in given.clients:
            rows.append(measure(model, server, clients, given.repeats))
            print(rows[-1], file=sys.stderr)
    write_table(
        "server",
        "The server against sample",
        rows,
        "`share` is the server's requests a second over those of `sample` with as many rows, which "
        "has all prompts at once; seconds of the processor are those of the side that answers, and "
        "tell the two apart where other work has the machine too. One thread each, "
        f"{MAX_TOKENS} tokens, α 4, {POWER['blocks']} blocks of one move; the demo's questions "
        "without worked examples. `MiB` is the server's resident memory after the requests.",
    )


def measure(
    model: Model, server: psutil.Process, clients: int, repeats: int
) -> dict[str, float | int]:
    """A row: both sides, one after the other, several times."""
    # Without the worked examples: `sample` computes once what all prompts begin with.
    chats = [chat[-1:] for chat in prompts(CLIENTS[clients])]
    asyncio.run(asked(chats[:1], 1, server))  # a batch is made when it is first asked for
    sides: list[Callable[[], Timed]] = [
        lambda: sampled(model, chats, clients),
        lambda: asyncio.run(asked(chats, clients, server)),
    ]
    alone, through = [], []
    for number in range(repeats):
        first, second = (1, 0) if number % 2 else (0, 1)
        timed = {side: sides[side]() for side in (first, second)}
        alone.append(timed[0])
        through.append(timed[1])
        assert through[-1].texts == alone[-1].texts
    sides_timed = alone, through
    rates = [len(chats) / median([timed.seconds for timed in side]) for side in sides_timed]
    costs = [median([timed.cpu_seconds for timed in side]) / len(chats) for side in sides_timed]
    return {
        "clients": clients,
        "requests": len(chats),
        "sample requests/s": rates[0],
        "server requests/s": rates[1],
        "share": rates[1] / rates[0],
        "sample CPU s/request": costs[0],
        "server CPU s/request": costs[1],
        "MiB": round(server.memory_info().rss / 2**20),
    }


def sampled(model: Model, chats: Sequence[Messages], rows: int) -> Timed:
    """Through `sample`."""
    started, cpu_started = time.perf_counter(), time.process_time()
    answers = sample(model, chats, POWER | {"max_new_tokens": MAX_TOKENS}, seed=SEED, rows=rows)
    seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - cpu_started
    return Timed(seconds, cpu_seconds, [str(generation.text) for (generation,) in answers])


async def asked(chats: Sequence[Messages], clients: int, server: psutil.Process) -> Timed:
    """Through the server, by clients that ask again as soon as they are answered."""
    texts: dict[int, str] = {}
    left = iter(list(enumerate(chats)))
    async with openai.AsyncOpenAI(
        base_url=f"http://127.0.0.1:{PORT}/v1", api_key="none", max_retries=0
    ) as client:

        async def ask() -> None:
            for number, chat in left:
                messages: Any = chat
                answer = await client.chat.completions.create(
                    model=NAME,
                    messages=messages,
                    seed=SEED,
                    max_tokens=MAX_TOKENS,
                    extra_body=POWER,
                )
                texts[number] = answer.choices[0].message.content or ""

        started, cpu_started = time.perf_counter(), cpu_seconds_of(server)
        await asyncio.gather(*(ask() for _ in range(clients)))
        seconds, cpu_seconds = time.perf_counter() - started, cpu_seconds_of(server) - cpu_started
    return Timed(seconds, cpu_seconds, [texts[number] for number in range(len(chats))])


def cpu_seconds_of(process: psutil.Process) -> float:
    """What its threads have taken so far."""
    times = process.cpu_times()
    return float(times.user + times.system)


@contextmanager
def served() -> Iterator[psutil.Process]:
    """The server, once it listens."""
    command = [sys.executable, "-m", "powerblend", "serve", str(demo_model())]
    options = ["--name", NAME, "--port", str(PORT), "--rows", str(max(CLIENTS))]
    process = subprocess.Popen([*command, *options], env=os.environ | {"OMP_NUM_THREADS": "1"})
    try:
        wait_until_it_listens(process)
        yield psutil.Process(process.pid)
    finally:
        process.terminate()
        process.wait()


def wait_until_it_listens(process: "subprocess.Popen[bytes]") -> None:
    """Ask for its health until it answers."""
    while process.poll() is None:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{PORT}/health")
            return
        except OSError:
            time.sleep(0.2)
    raise SystemExit("the server has ended: see above")


if __name__ == "__main__":
    main()
