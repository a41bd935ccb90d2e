"""Providers without sockets, which answer each request with the bytes, pauses and ends that it was given for it."""

from __future__ import annotations

import asyncio
import gzip
import itertools
from collections import defaultdict
from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec

from llm_gateway.flow.ports.upstream import TransportError
from llm_gateway.infra.upstream.address import ServerAddress
from tests.fakes.chat_requests import DONE, HELLO, ROLE, STOP, USAGE, WHOLE
from tests.fakes.socketless import SocketlessTransport

LARGEST_REPLY = 200_000
_HEAD_END = b"\r\n\r\n"


class Step(NamedTuple):
    """What a provider does `after` seconds: it sends `data`, or ends its connection."""

    data: bytes = b""
    after: float = 0.0
    end: str = ""


Steps = tuple[Step, ...]


def reply(body: bytes, status: str = "200 OK", *headers: str) -> bytes:
    lines = [
        f"HTTP/1.1 {status}",
        "content-type: application/json",
        *headers,
        f"content-length: {len(body)}",
        "",
        "",
    ]
    return "\r\n".join(lines).encode() + body


def error(status: str, *headers: str, message: str = "no", **fields: Any) -> Steps:
    return (Step(reply(msgspec.json.encode({"error": {"message": message, **fields}}), status, *headers)),)


def chunk(content: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(content), content)


def pieces_of(data: bytes, *places: float) -> list[bytes]:
    """Cut data at shares of it."""
    edges = [0, *(int(len(data) * place) for place in places), len(data)]
    return [data[start:end] for start, end in itertools.pairwise(edges)]


def cut(data: bytes, *places: float, after: float = 0.0) -> Steps:
    """Return steps that send `data` in pieces, `after` seconds apart."""
    first, *others = pieces_of(data, *places)
    return (Step(first), *(Step(piece, after) for piece in others))


def _saying(text: str) -> bytes:
    return WHOLE.replace(b'"Hi"', msgspec.json.encode(text))


OK = reply(WHOLE)
_CHUNKED = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n"
_EVENTS = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
_ERROR = b'data: {"error":{"message":"sk-secret-of-a broke"}}\n\n'
_STREAM = [ROLE, HELLO, HELLO, STOP, USAGE, DONE]
RESPONSE = {
    "id": "resp_1",
    "object": "response",
    "status": "completed",
    "output": [],
    "usage": {"input_tokens": 3, "output_tokens": 1, "total_tokens": 4},
}

ANSWERS: dict[str, Steps] = {
    "whole": (Step(OK),),
    "another": (Step(reply(_saying("Another one"))),),
    "response": (Step(reply(msgspec.json.encode(RESPONSE))),),
    "head first": cut(OK, OK.find(_HEAD_END) / len(OK)),
    "in pieces": cut(OK, 0.1, 0.5, 0.9),
    "in slow pieces": cut(OK, 0.2, 0.7, after=0.3),
    "late": (Step(OK, 0.8),),
    "very late": (Step(OK, 4.0),),
    "chunked": (Step(_CHUNKED + chunk(WHOLE) + b"0\r\n\r\n"),),
    "two chunks": (Step(_CHUNKED + chunk(WHOLE[:50]) + chunk(WHOLE[50:]) + b"0\r\n\r\n"),),
    "slow chunks": (Step(_CHUNKED + chunk(WHOLE[:50])), Step(chunk(WHOLE[50:]) + b"0\r\n\r\n", 0.4)),
    "gzip": (Step(reply(gzip.compress(WHOLE, mtime=0), "200 OK", "content-encoding: gzip")),),
    "brotli": (Step(reply(WHOLE, "200 OK", "content-encoding: br")),),
    "closes": (Step(reply(WHOLE, "200 OK", "connection: close")),),
    "closes, and has": (Step(reply(WHOLE, "200 OK", "connection: close")), Step(end="clean")),
    "short keep-alive": (Step(reply(WHOLE, "200 OK", "keep-alive: timeout=2")),),
    "no keep-alive": (Step(reply(WHOLE, "200 OK", "keep-alive: timeout=1")),),
    "until the end": (Step(b"HTTP/1.1 200 OK\r\n\r\n" + WHOLE), Step(end="clean")),
    "until a reset": (Step(b"HTTP/1.1 200 OK\r\n\r\n" + WHOLE), Step(end="reset")),
    "interim": (Step(b"HTTP/1.1 102 Processing\r\n\r\n" + OK),),
    "surplus": (Step(OK + b"HTTP/1.1 200 OK\r\n"),),
    "surplus later": (Step(OK), Step(b"HTTP/1.1 408 Request Timeout\r\n\r\n", 0.2)),
    "reset later": (Step(OK), Step(end="reset", after=0.2)),
    "created": (Step(reply(WHOLE, "201 Created")),),
    "empty": (Step(b"HTTP/1.1 204 No Content\r\n\r\n"),),
    "no usage": (Step(reply(WHOLE.replace(b'"usage"', b'"else"'))),),
    "no choices": (Step(reply(b'{"id":"x","usage":{"prompt_tokens":3,"completion_tokens":1}}')),),
    "error inside": (Step(reply(b'{"error":{"message":"sk-secret-of-a broke","code":500}}')),),
    "not JSON": (Step(reply(b"<html>busy</html>")),),
    "not UTF-8": (Step(reply(WHOLE.replace(b"Hi", b"\xff\xfe"))),),
    "nested": (Step(reply(b"[" * 3000 + b"]" * 3000)),),
    "nothing": (Step(reply(b"")),),
    "large": (Step(reply(_saying("x" * 70_000))),),
    "too large": (Step(reply(_saying("x" * LARGEST_REPLY))),),
    "too large, chunked": (Step(_CHUNKED + chunk(_saying("x" * LARGEST_REPLY)) + b"0\r\n\r\n"),),
    "silent": (),
    "half a head": (Step(OK[:20]),),
    "half a body": (Step(OK[:-9]),),
    "half a head, ended": (Step(OK[:20]), Step(end="clean")),
    "half a body, ended": (Step(OK[:-9]), Step(end="clean", after=0.1)),
    "half a body, reset": (Step(OK[:-9]), Step(end="reset")),
    "ended": (Step(end="clean"),),
    "reset": (Step(end="reset"),),
    "ended late": (Step(end="clean", after=0.7),),
    "malformed": (Step(b"HTTP/1.1 banana\r\n\r\n"),),
    "malformed chunk": (Step(_CHUNKED + b"zz\r\n"),),
    "400": error("400 Bad Request", message="bad temperature", param="temperature"),
    "too long": error("400 Bad Request", code="context_length_exceeded"),
    "401": error("401 Unauthorized", message="Incorrect API key provided: sk-secret-of-a"),
    "404": error("404 Not Found", message="The model does not exist", code="model_not_found"),
    "413": error("413 Content Too Large"),
    "429": error("429 Too Many Requests"),
    "429 with a wait": error("429 Too Many Requests", "retry-after: 2"),
    "500": error("500 Internal Server Error"),
    "503 with a wait": error("503 Service Unavailable", "retry-after: 1"),
    "500 in pieces": cut(error("500 Internal Server Error")[0].data, 0.4, 0.8, after=0.1),
    "stream": (Step(_EVENTS + b"".join(map(chunk, _STREAM)) + b"0\r\n\r\n"),),
    "paced stream": (
        Step(_EVENTS + chunk(ROLE)),
        *(Step(chunk(event), 0.2) for event in _STREAM[1:]),
        Step(b"0\r\n\r\n"),
    ),
    "slow start": cut(
        _EVENTS + chunk(ROLE) + chunk(HELLO) + chunk(STOP + USAGE + DONE) + b"0\r\n\r\n", 0.2, 0.4, 0.6, after=0.2
    ),
    "comments first": (
        Step(_EVENTS + chunk(b": wait\n\n")),
        *(Step(chunk(event), 0.2) for event in [b": wait\n\n", b"\n\n", *_STREAM]),
        Step(b"0\r\n\r\n", 0.1),
    ),
    "late usage": (
        Step(_EVENTS + b"".join(map(chunk, _STREAM[:4]))),
        Step(chunk(USAGE), 0.3),
        Step(chunk(DONE), 0.3),
    ),
    "no usage in a stream": (Step(_EVENTS + chunk(HELLO)), Step(chunk(HELLO + STOP + DONE) + b"0\r\n\r\n", 0.3)),
    "error in a stream": (Step(_EVENTS + chunk(HELLO)), Step(chunk(_ERROR) + b"0\r\n\r\n", 0.3)),
    "error at once in a stream": (Step(_EVENTS + chunk(HELLO + _ERROR) + b"0\r\n\r\n"),),
    "unreadable stream": (Step(_EVENTS + chunk(b"data: {nonsense\n\n")), Step(chunk(HELLO), 0.2)),
    "long role": (Step(_EVENTS + chunk(ROLE)), Step(chunk(HELLO), 2.0), Step(chunk(STOP + DONE) + b"0\r\n\r\n", 0.1)),
    "late stream": (Step(_EVENTS, 0.3), Step(chunk(HELLO), 3.0), Step(chunk(STOP + DONE) + b"0\r\n\r\n", 0.1)),
    "stream without an end": (Step(_EVENTS + chunk(HELLO)), Step(end="clean", after=0.5)),
    "stream, reset": (Step(_EVENTS + chunk(ROLE) + chunk(HELLO)), Step(end="reset", after=0.5)),
    "silent stream": (Step(_EVENTS + chunk(HELLO) + chunk(HELLO)),),
    "error first": (Step(_EVENTS + chunk(b'data: {"error":{"message":"busy"}}\n\n') + b"0\r\n\r\n"),),
}  # fmt: skip


class ProviderConnection(SocketlessTransport):
    """One connection of the pool, at the provider's end."""

    def __init__(self, protocol: Any, host: str, providers: ScriptedProviders) -> None:
        self.host = host
        self._providers = providers
        self._input = b""
        super().__init__(protocol)

    def write(self, data: Any) -> None:
        before = len(self.written)
        super().write(data)
        self._input += b"".join(self.written[before:])
        head, end, rest = self._input.partition(_HEAD_END)
        if not end:
            return
        length = next(
            int(line.partition(b":")[2]) for line in head.split(b"\r\n") if line.startswith(b"content-length")
        )
        if len(rest) >= length:
            self._input = rest[length:]
            self._providers.received(self, head + end, rest[:length])

    def act(self, steps: Steps) -> None:
        """Perform the steps, one after the other."""
        if steps and not self.closed:
            asyncio.get_running_loop().call_later(steps[0].after, self._perform, steps)

    def _perform(self, steps: Steps) -> None:
        step = steps[0]
        if step.end:
            self.lose(cleanly=step.end == "clean")
        elif self.reading:
            self.feed(step.data)
        else:
            # What the system buffers arrives when it is read again.
            asyncio.get_running_loop().call_later(0.01, self._perform, steps)
            return
        self.act(steps[1:])


class ScriptedProviders:
    """All providers, which the pool reaches in place of a dialer. Requests are told apart by their field `seed`."""

    def __init__(self) -> None:
        self.connections: list[ProviderConnection] = []
        # The answers to come, or their names, by seed; without any, requests are answered at once.
        self.answers: dict[int, list[str | Steps]] = defaultdict(list)
        # What arrived: host, head and body.
        self.requests: list[tuple[str, bytes, bytes]] = []
        # Hosts that refuse connections.
        self.down: set[str] = set()

    async def dial(self, server: ServerAddress, factory: Callable[[], Any], *_: object) -> Any:
        await asyncio.sleep(0)
        if server.host in self.down:
            raise TransportError("connect", "refused")
        protocol = factory()
        self.connections.append(ProviderConnection(protocol, server.host, self))
        return protocol

    def close(self) -> None: ...

    def received(self, connection: ProviderConnection, head: bytes, body: bytes) -> None:
        self.requests.append((connection.host, head, body))
        fields = msgspec.json.decode(body)
        seed = fields.get("seed", 0)
        answers = self.answers[seed]
        usual = "response" if b"/responses " in head else "stream" if fields.get("stream") else "whole"
        answer = answers.pop(0) if answers else usual
        script = ANSWERS[answer] if isinstance(answer, str) else answer
        # No two requests are answered at the same instant, so that the order of their ends is that of the script.
        steps = tuple(step._replace(after=step.after + seed * 1e-5) for step in script)
        connection.act(steps)

    def close_idle(self, host: str, *, noticed: bool) -> None:
        """Close idle connections; with `noticed`, the pool learns of it at once."""
        for connection in self.connections:
            pool_end = connection.protocols[0]
            if connection.host != host or connection.closed or pool_end.busy:
                continue
            if noticed:
                connection.lose(cleanly=True)
            else:
                # What the socket has to read is its end.
                pool_end.poll = lambda _timeout: [(0, 1)]
