from __future__ import annotations

import pytest

from llm_gateway.core.errors import BadRequest, BodyTooLarge, Unavailable
from llm_gateway.http.body import BodyReader
from llm_gateway.http.types import Message

COMPLEX = b'{"messages":[' + b",".join([b"{}"] * 200_000) + b"]}"


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
    bodies = reader(max_total_bytes=len(COMPLEX))
    with pytest.raises(BadRequest, match="MAX_BODY_VALUES"):
        await read(bodies, COMPLEX[:1000], COMPLEX[1000:])
    # There is room again, and for no more than the bound.
    assert await read(bodies, b"a" * len(COMPLEX)) == b"a" * len(COMPLEX)
    with pytest.raises(Unavailable, match="MAX_INFLIGHT_BODY_BYTES"):
        await read(bodies, b"b")


async def test_the_bounds_are_settings() -> None:
    with pytest.raises(BodyTooLarge, match="MAX_BODY_BYTES"):
        await read(reader(max_bytes=10), b"a" * 11)
    assert await read(reader(max_values=300_000), COMPLEX) == COMPLEX
