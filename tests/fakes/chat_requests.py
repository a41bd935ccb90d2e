"""Chat requests through the flow: the bytes that providers send, and helpers that read the replies."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec

from llm_gateway.flow.gateway import Options
from llm_gateway.flow.ports.upstream import TransportError
from llm_gateway.flow.request.pipeline import handle
from llm_gateway.flow.request.reply import ByteStream, StreamReply, WholeReply
from tests.fakes.in_memory import Answer, FakeGateway, FakeReply, ScriptedUpstream, provider

WHOLE = msgspec.json.encode(
    {
        "id": "x",
        "object": "chat.completion",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hi"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 1, "total_tokens": 4},
    }
)
ROLE = b'data: {"choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}\n\n'
HELLO = b'data: {"choices":[{"index":0,"delta":{"content":"Hello you"},"finish_reason":null}]}\n\n'
STOP = b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
USAGE = b'data: {"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5}}\n\n'
DONE = b"data: [DONE]\n\n"
CUT = TransportError("cut", "cut")


def whole() -> FakeReply:
    return FakeReply(WHOLE)


def stream(*pieces: bytes | TransportError | float, **more: Any) -> FakeReply:
    return FakeReply(*pieces, content_type="text/event-stream", **more)


def read(**fields: Any) -> Any:
    body = msgspec.json.encode({"model": "m", "messages": [{"role": "user", "content": "a b"}], **fields})

    async def read_body() -> bytes:
        await asyncio.sleep(0)
        return body

    return read_body


async def ask(bench: FakeGateway, **fields: Any) -> WholeReply:
    reply = await handle(bench.gateway, bench.call(), read(**fields))
    assert isinstance(reply, WholeReply)
    return reply


async def ask_stream(bench: FakeGateway, **fields: Any) -> bytes:
    reply = await handle(bench.gateway, bench.call(), read(stream=True, **fields))
    assert isinstance(reply, StreamReply)
    return await consume(reply)


async def begin_stream(bench: FakeGateway, upstream: FakeReply) -> StreamReply:
    """Return the committed stream that `upstream` answers with."""
    bench.upstream.answers["a"] = [upstream]
    reply = await handle(bench.gateway, bench.call(), read(stream=True))
    assert isinstance(reply, StreamReply)
    return reply


async def consume(reply: ByteStream) -> bytes:
    out = bytearray()

    def sink(data: bytes) -> bool:
        out.extend(data)
        # Slow, now and then.
        return len(out) % 3 != 0

    try:
        while True:
            data, last = await reply.next()
            out.extend(data)
            if last:
                return bytes(out)
            await reply.relay(sink)
    finally:
        reply.close()


def one(reply: Answer | list[Answer], **options: Any) -> FakeGateway:
    return FakeGateway(provider("a"), upstream=ScriptedUpstream(a=reply), options=Options(**options))
