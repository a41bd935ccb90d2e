"""How a stream is kept while it goes by, and how it is sent again."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from llm_gateway.flow.accounting.meter import CLIENT_LEFT, Meter
from llm_gateway.flow.reply_cache.entry import CachedReply
from llm_gateway.flow.request.reply import ByteStream, Headers

_OK = 200


class RecordingStream:
    """A stream that is handed to `keep` once it has gone by, if it was not longer than `limit` bytes."""

    __slots__ = ("_keep", "_pieces", "_room", "_stream", "headers")

    def __init__(self, stream: ByteStream, keep: Callable[[bytes], Awaitable[None]], limit: int) -> None:
        """Take over `stream`."""
        self.headers: Headers = stream.headers
        self._stream = stream
        self._keep = keep
        self._pieces: list[bytes] = []
        self._room = limit

    async def next(self) -> tuple[bytes, bool]:
        """Return the next bytes, and whether they are the last: then the stream is kept already."""
        data, last = await self._stream.next()
        self._note(data)
        if last and self._room >= 0:
            await self._keep(b"".join(self._pieces))
        return data, last

    async def relay(self, sink: Callable[[bytes], bool]) -> None:
        """Let bytes go on to the client as they come, and note them."""

        def note_and_send(data: bytes) -> bool:
            self._note(data)
            return sink(data)

        await self._stream.relay(note_and_send)

    def close(self) -> None:
        """Let go."""
        self._pieces.clear()
        self._stream.close()

    def _note(self, data: bytes) -> None:
        self._room -= len(data)
        if self._room < 0:
            self._pieces.clear()
        else:
            self._pieces.append(data)


class ReplayedStream:
    """A kept stream on its way to another client: all at once, since all of it is there."""

    __slots__ = ("_meter", "_reply", "headers")

    def __init__(self, reply: CachedReply, meter: Meter) -> None:
        """Report to `meter` when the stream has gone out, or has not."""
        self._reply = reply
        self._meter = meter
        self.headers: Headers = ()

    async def next(self) -> tuple[bytes, bool]:
        """Return the whole stream."""
        self._meter.first_content()
        self._meter.response_bytes = len(self._reply.body)
        self._meter.report("ok", _OK, usage=self._reply.usage)
        return self._reply.body, True

    async def relay(self, sink: Callable[[bytes], bool]) -> None:
        """Leave it to `next`."""

    def close(self) -> None:
        """Report a client that left before there was anything to send to it."""
        if not self._meter.reported:
            self._meter.abort(CLIENT_LEFT)
