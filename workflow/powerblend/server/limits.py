"""What a request's body may take: bytes, and seconds until all of it is there.

Whoever sends without end, or a byte now and then, would hold memory or a connection for ever. Knows
nothing of what the body says.
"""

import asyncio

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

MAX_BYTES = 16 * 2**20
"""Of a body: far more than the prompts of all answers that may wait."""

MAX_SECONDS = 60.0
"""From a request's first line to its body's last byte."""


class BodyLimits:
    """The application behind it gets no longer and no slower body; who sends one gets an error."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, with its body watched."""
        limited = _Body(receive) if scope["type"] == "http" else receive
        await self._app(scope, limited, send)


class _Body:
    """The messages of a request: until the body is there they are counted and timed."""

    def __init__(self, receive: Receive) -> None:
        self._receive, self._bytes, self._is_there = receive, 0, False
        self._end = asyncio.get_running_loop().time() + MAX_SECONDS

    async def __call__(self) -> Message:
        if self._is_there:
            return await self._receive()
        try:
            async with asyncio.timeout_at(self._end):
                message = await self._receive()
        except TimeoutError:
            raise HTTPException(408, f"the body is not there after {MAX_SECONDS:g} s") from None
        self._bytes += len(message.get("body", b""))
        if self._bytes > MAX_BYTES:
            raise HTTPException(413, f"the body has more than {MAX_BYTES >> 20} MiB")
        self._is_there = not message.get("more_body", False)
        return message
