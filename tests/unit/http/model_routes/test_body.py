"""Request bodies: read at once or in parts, within limits of size, values, time and total memory."""

from __future__ import annotations

import asyncio

import pytest

from llm_gateway.core.errors import BadRequest, BodyTimedOut, BodyTooLarge, Unavailable
from llm_gateway.flow.call import ClientDisconnected
from llm_gateway.http.model_routes.body import BodyReader
from llm_gateway.http.model_routes.request_context import RequestContext
from llm_gateway.http.types import Message
from llm_gateway.surfaces.openai.dialect import CHAT
from tests.fakes.asgi import FakeExchange, http_scope


def reader(**bounds: int) -> BodyReader:
    return BodyReader(**{"max_bytes": 1 << 20, "max_total_bytes": 1 << 22, "timeout": 5, **bounds})


async def read(bodies: BodyReader, *parts: bytes) -> bytes:
    messages: list[Message] = [
        {"type": "http.request", "body": part, "more_body": at + 1 < len(parts)}
        for at, part in enumerate(parts)
    ]

    async def receive() -> Message:
        return messages.pop(0)

    return await bodies.read({"type": "http", "headers": []}, receive)


async def test_parts_are_joined() -> None:
    assert await read(reader(), b"one ", b"two") == b"one two"


async def test_a_refused_body_gives_its_bytes_back() -> None:
    bodies = reader(max_bytes=10, max_total_bytes=10)
    with pytest.raises(BodyTooLarge):
        await read(bodies, b"a" * 9, b"a" * 2)
    # There is room again, and for no more than the bound.
    assert await read(bodies, b"a" * 10) == b"a" * 10
    with pytest.raises(Unavailable, match="MAX_INFLIGHT_BODY_BYTES"):
        await read(bodies, b"b")


async def test_the_bound_is_a_setting() -> None:
    with pytest.raises(BodyTooLarge, match="MAX_BODY_BYTES"):
        await read(reader(max_bytes=10), b"a" * 11)


def context(*headers: tuple[bytes, bytes]) -> RequestContext:
    return RequestContext(http_scope("POST", "/v1/x", *headers), CHAT)


def test_a_body_that_has_arrived_needs_no_wait() -> None:
    bodies = reader(max_bytes=10, max_total_bytes=10)
    assert bodies.read_nowait(context(), FakeExchange(b"a" * 6)) == b"a" * 6
    with pytest.raises(Unavailable, match="MAX_INFLIGHT_BODY_BYTES"):
        bodies.read_nowait(context(), FakeExchange(b"b" * 5))
    bodies.release(6)
    assert bodies.read_nowait(context(), FakeExchange(b"b" * 5)) == b"b" * 5


@pytest.mark.parametrize("exchange", [None, FakeExchange()])
def test_a_body_that_has_not_arrived_has_to_be_waited_for(exchange: FakeExchange | None) -> None:
    assert reader().read_nowait(context(), exchange) is None


def test_a_body_that_has_arrived_is_checked_too() -> None:
    with pytest.raises(BodyTooLarge):
        reader(max_bytes=10).read_nowait(context(), FakeExchange(b"a" * 11))


@pytest.mark.parametrize("coding", [b"gzip", b"br", b"x"])
def test_a_compressed_body_is_refused(coding: bytes) -> None:
    with pytest.raises(BadRequest) as caught:
        reader().read_nowait(context((b"content-encoding", coding)), FakeExchange(b"{}"))
    assert caught.value.code == "unsupported_content_encoding"
    assert reader().read_nowait(context((b"content-encoding", b"Identity")), FakeExchange(b"{}")) == b"{}"


async def test_a_declared_length_over_the_limit_is_refused_unread() -> None:
    async def receive() -> Message:
        raise AssertionError("the body is read")

    with pytest.raises(BodyTooLarge):
        await reader(max_bytes=10).read(http_scope("POST", "/", (b"content-length", b"11")), receive)


async def test_a_body_that_takes_too_long_gives_its_bytes_back() -> None:
    bodies = BodyReader(max_bytes=10, max_total_bytes=10, timeout=0.01)
    messages: list[Message] = [{"type": "http.request", "body": b"a" * 9, "more_body": True}]

    async def receive() -> Message:
        if not messages:
            await asyncio.sleep(3600)
        return messages.pop()

    with pytest.raises(BodyTimedOut, match=r"0\.01 seconds"):
        await bodies.read(http_scope("POST", "/"), receive)
    assert await read(bodies, b"b" * 10) == b"b" * 10


async def test_a_client_that_leaves_within_its_body_is_noticed() -> None:
    async def receive() -> Message:
        return {"type": "http.disconnect"}

    with pytest.raises(ClientDisconnected):
        await reader().read(http_scope("POST", "/"), receive)
