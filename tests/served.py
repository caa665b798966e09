"""A server of a tiny model in a thread, with which the real client talks."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn
from fastapi import FastAPI


@contextmanager
def listening(app: FastAPI) -> Iterator[str]:
    """The address of an application while it is served."""
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="critical"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        wait_for(lambda: server.started)
        port: int = server.servers[0].sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join()


def wait_for(happened: Any, seconds: float = 20.0) -> None:
    """Until something is so, or an assertion fails."""
    end = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < end, "it has not come"
        time.sleep(0.01)
