"""A file that cannot be finished is never taken for a whole one."""

from __future__ import annotations

from collections.abc import AsyncIterator

from starlette.types import Message

from llm_gateway.flow.ports.catalog import StoreUnavailable
from llm_gateway.http.streamed_file import StreamedFile


async def test_a_database_that_fails_midway_leaves_the_response_open() -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield b"one\n"
        raise StoreUnavailable("gone")

    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    # Without an error, so that the log has no traceback; the server closes the connection.
    await StreamedFile(pieces()).stream_response(send)
    assert [message.get("body") for message in sent] == [None, b"one\n"]
    assert sent[-1]["more_body"]
