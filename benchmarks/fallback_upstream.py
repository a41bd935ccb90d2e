"""The fake provider of upstream.c for machines without a C compiler: the same behaviour, several times the cost."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any, cast

import httptools
import uvloop

_CHUNKS = 50
_REPLY_BYTES = 400
_USAGE = {"prompt_tokens": 19, "completion_tokens": 50, "total_tokens": 69}
_BASE = {"id": "chatcmpl-bench", "created": 1760000000, "model": "bench"}


def _event(value: Any) -> bytes:
    data = b"data: " + (value if isinstance(value, bytes) else json.dumps(value).encode()) + b"\n\n"
    return b"%x\r\n%s\r\n" % (len(data), data)


def _chunk(delta: dict[str, str], finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
    return _event(_BASE | {"object": "chat.completion.chunk", "choices": [choice]})


def _unary() -> bytes:
    def body(text: str) -> bytes:
        choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
        return json.dumps(
            _BASE | {"object": "chat.completion", "choices": [choice], "usage": _USAGE}
        ).encode()

    padded = body("x" * (_REPLY_BYTES - len(body(""))))
    head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
    return head % len(padded) + padded


_UNARY = _unary()
_STREAM_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
_FIRST = _chunk({"role": "assistant", "content": ""})
_CHUNK = _chunk({"content": " token"})
_FINISH = _chunk({}, "stop")
_USAGE_EVENT = _event(_BASE | {"object": "chat.completion.chunk", "choices": [], "usage": _USAGE})
_END = _event(b"[DONE]") + b"0\r\n\r\n"


class _Connection(asyncio.Protocol):
    gap = 0.0
    chunks = _CHUNKS

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports do not inherit from asyncio.Transport, but have its methods.
        self.transport = cast("asyncio.Transport", transport)
        self._start()

    def _start(self) -> None:
        self.parser = httptools.HttpRequestParser(self)
        self.body = b""

    def data_received(self, data: bytes) -> None:
        self.parser.feed_data(data)

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        body = self.body
        self._start()
        name = body.partition(b'"model"')[2].lstrip(b' :"')[:1]
        if name not in {b"b", b"p"}:
            self.transport.write(_UNARY)
            return
        tail = _FINISH + (_USAGE_EVENT if b"include_usage" in body else b"") + _END
        if name == b"b":
            self.transport.write(_STREAM_HEAD + _FIRST + _CHUNK * _CHUNKS + tail)
        else:
            self.transport.write(_STREAM_HEAD + _FIRST)
            self._later(self.chunks, tail)

    def _later(self, left: int, tail: bytes) -> None:
        asyncio.get_running_loop().call_later(self.gap, self._pace, left, tail)

    def _pace(self, left: int, tail: bytes) -> None:
        if self.transport.is_closing():
            return
        self.transport.write(_CHUNK if left > 1 else _CHUNK + tail)
        if left > 1:
            self._later(left - 1, tail)


async def _serve(gap: float, chunks: int, ports: list[int]) -> None:
    _Connection.gap, _Connection.chunks = gap, chunks
    loop = asyncio.get_running_loop()
    servers = [await loop.create_server(_Connection, "127.0.0.1", port, backlog=4096) for port in ports]
    print("ready", flush=True)
    await asyncio.gather(*(server.serve_forever() for server in servers))


if __name__ == "__main__":
    uvloop.run(_serve(int(sys.argv[1]) / 1e6, int(sys.argv[2]), [int(port) for port in sys.argv[3:]]))
