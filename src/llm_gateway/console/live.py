"""Parts of pages that follow the gateway over server-sent events, for a bounded number of browsers."""

from __future__ import annotations

import asyncio
import hashlib
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Final, Generic, TypeVar

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from llm_gateway.console.security import session_token
from llm_gateway.console.services import services_of
from llm_gateway.core.errors import RateLimited
from llm_gateway.flow.ports.catalog import StoreUnavailable

_T = TypeVar("_T")
_LINE_END: Final = re.compile(r"\r\n|\r|\n")
# Milliseconds after which browsers connect again.
_RETRY: Final = b"retry: 3000\n\n"
_HEARTBEAT: Final = b": still here\n\n"
# Tells console.js not to connect again.
_DONE: Final = b"event: done\ndata:\n\n"
# Work that took a second is not done again for this many.
_PAUSE: Final = 20.0


class SharedResult(Generic[_T]):
    """Work whose result all share that ask within a while; never done twice at a time."""

    def __init__(
        self, work: Callable[[], Awaitable[_T]], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._work = work
        self._clock = clock
        self._task: asyncio.Task[_T] | None = None
        self._begun = 0.0
        self._took = 0.0

    async def get(self, max_age: float) -> _T:
        """Return a result that is at most `max_age` seconds old, or older if the work takes long."""
        task = self._task
        if task is None or (task.done() and self._age() > max(max_age, _PAUSE * self._took)):
            self._begun = self._clock()
            task = self._task = asyncio.ensure_future(self._run())
        # Shielded: others wait for it when this client leaves.
        return await asyncio.shield(task)

    def _age(self) -> float:
        return self._clock() - self._begun

    async def _run(self) -> _T:
        try:
            return await self._work()
        finally:
            self._took = self._age()


class LiveStreams:
    """The open streams of this process."""

    def __init__(
        self,
        *,
        most: int = 100,
        lifetime: float = 300.0,
        heartbeat: float = 15.0,
        tick: float = 0.5,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Serve at most `most` at once, each for `lifetime` seconds; browsers then connect again."""
        self._most = most
        self._lifetime = lifetime
        self._heartbeat = heartbeat
        self._tick = tick
        self._clock = clock
        self.open = 0

    def response(self, request: Request, render: Callable[[], Awaitable[str]], every: float) -> Response:
        """Send what `render` returns every so many seconds if it has changed, first since the page was made.

        The page names what it shows in the query's `seen` (see `digest`). Raises RateLimited.
        """
        if request.method == "HEAD":
            return Response(media_type="text/event-stream")
        if self.open >= self._most:
            raise RateLimited(
                f"{self._most} pages of the console follow this process already. Close some, or reload this page to "
                "see newer numbers.",
                code="too_many_streams",
                retry_after=30,
            )
        return _LiveResponse(self, self._events(request, render, every))

    async def _events(
        self, request: Request, render: Callable[[], Awaitable[str]], every: float
    ) -> AsyncIterator[bytes]:
        lifecycle = services_of(request).lifecycle
        seen = request.query_params.get("seen", "")
        begun = sent_at = self._clock()
        yield _RETRY
        while self._clock() - begun < self._lifetime:
            try:
                if not await _is_signed_in(request):
                    yield _DONE
                    return
                text = await render()
                if (changed := digest(text)) != seen:
                    seen, sent_at = changed, self._clock()
                    yield event(text)
            except StoreUnavailable:
                # What is shown stays until the database is back.
                pass
            rendered_at = self._clock()
            while self._clock() - rendered_at < every:
                if lifecycle.draining:
                    return
                if self._clock() - sent_at >= self._heartbeat:
                    sent_at = self._clock()
                    yield _HEARTBEAT
                await asyncio.sleep(self._tick)


class _LiveResponse(StreamingResponse):
    """A stream that is counted while it is open."""

    def __init__(self, streams: LiveStreams, events: AsyncIterator[bytes]) -> None:
        super().__init__(
            events,
            media_type="text/event-stream",
            # Tells proxies not to collect the events.
            headers={"cache-control": "no-store", "x-accel-buffering": "no"},
        )
        self._streams = streams

    async def stream_response(self, send: Callable[..., Awaitable[None]]) -> None:
        self._streams.open += 1
        try:
            await super().stream_response(send)
        finally:
            self._streams.open -= 1


def digest(text: str) -> str:
    """Return a short name for a text."""
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:16]


def event(text: str) -> bytes:
    """Return a server-sent event with this text, whatever lines it has."""
    lines = "".join(f"data: {line}\n" for line in _LINE_END.split(text))
    return f"{lines}\n".encode("utf-8", "replace")


async def _is_signed_in(request: Request) -> bool:
    token = session_token(request)
    return token is not None and await services_of(request).sessions.find(token.reveal()) is not None
