"""A scriptable OpenAI-type provider that can misbehave byte by byte, for tests of whatever calls it."""

from __future__ import annotations

import argparse
import asyncio
import json
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import httptools
import msgspec

from tests.fakes import openai_wire, responses_wire
from tests.fakes.calls import Call, Lane
from tests.fakes.script import BEFORE_HEAD, FIELD, Script, error_body

_STALL = 3600.0
# Lets what was written reach the reader before a reset throws it away.
_SETTLE = 0.05
_REASONS = {200: "OK", 400: "Bad Request", 404: "Not Found", 429: "Too Many Requests"}

_Chunks = Callable[[int, Script, dict[str, Any], str], Iterator[dict[str, Any]]]
_Whole = Callable[[int, Script, dict[str, Any], str], dict[str, Any]]
_ENDPOINTS: dict[str, tuple[_Whole, _Chunks]] = {
    "/v1/chat/completions": (openai_wire.chat_completion, openai_wire.chat_chunks),
    "/v1/completions": (openai_wire.completion, openai_wire.completion_chunks),
    # Never streamed: the second one is not used.
    "/v1/embeddings": (responses_wire.embedding_list, openai_wire.chat_chunks),
    "/v1/responses": (responses_wire.response, responses_wire.response_events),
}


class _Faulted(Exception):
    """The script's fault was done: nothing more is to be sent on this connection."""


class FakeUpstream:
    """The fake on a free loopback port, in a thread of its own; `lane(name)` gives providers to script.

    A request's script is, in this order: the next of `lane.next`, the body's `fake` field, `lane.default`.
    Over HTTP: `GET /__calls[?lane]`, `DELETE /__calls`, `PUT /__lanes/<name>` with `default`, `next`, `models`.
    """

    def __init__(self, port: int = 0) -> None:
        """Take the port; nothing answers before `start`."""
        self._socket = socket.create_server(("127.0.0.1", port), backlog=1024)
        self.port: int = self._socket.getsockname()[1]
        self.origin = f"http://127.0.0.1:{self.port}"
        self.changed = threading.Condition()
        self.lanes: dict[str, Lane] = {}
        self.calls: list[Call] = []
        self.connections: set[_Connection] = set()
        # How many there were since the start.
        self.accepted = 0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="fake-upstream", daemon=True)

    def lane(self, name: str) -> Lane:
        """Return the lane of that name, made on first use."""
        with self.changed:
            if name not in self.lanes:
                self.lanes[name] = Lane(name, self.origin, self.changed)
            return self.lanes[name]

    def start(self) -> FakeUpstream:
        """Answer from now on."""
        self._thread.start()
        return self

    def stop(self) -> None:
        """Drop every connection and end the thread."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)

    def serve_forever(self) -> None:
        """Answer in this thread until it is interrupted."""
        self._run()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        listening = self._loop.create_server(lambda: _Connection(self), sock=self._socket)
        server = self._loop.run_until_complete(listening)
        try:
            self._loop.run_forever()
        finally:
            server.close()
            for connection in self.connections:
                connection.abort()
            for task in asyncio.all_tasks(self._loop):
                task.cancel()
            # What was aborted and cancelled ends in the loop's next turns.
            self._loop.run_until_complete(asyncio.sleep(0.001))
            self._loop.close()

    def note(self, call: Call) -> None:
        """Remember a new call."""
        lane = self.lane(call.lane)
        with self.changed:
            self.calls.append(call)
            lane.calls.append(call)
            self.changed.notify_all()

    def notify(self) -> None:
        """Wake whoever waits for a change of some call."""
        with self.changed:
            self.changed.notify_all()


class _Connection(asyncio.Protocol):
    """One client connection: one request at a time, each answered by a task."""

    def __init__(self, server: FakeUpstream) -> None:
        self.server = server
        self.transport: asyncio.Transport | None = None
        self.task: asyncio.Task[None] | None = None
        self.call: Call | None = None
        self._writable = asyncio.Event()
        self._writable.set()
        self._begin()

    def _begin(self) -> None:
        self._parser = httptools.HttpRequestParser(self)
        self._url = b""
        self._headers: list[tuple[str, str]] = []
        self._body = bytearray()

    # --- asyncio ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.server.connections.add(self)
        self.server.accepted += 1

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            assert self.transport is not None
            self.transport.abort()

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self.server.connections.discard(self)
        if self.task is not None:
            self.task.cancel()
        self._left()

    def _left(self) -> None:
        call = self.call
        if call is not None and not call.finished and call.left_at is None:
            call.left_at = time.time()
            self.server.notify()

    def abort(self) -> None:
        """Drop the connection."""
        if self.transport is not None:
            self.transport.abort()

    # --- httptools ---

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers.append((name.decode("latin-1").lower(), value.decode("latin-1")))

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        method = self._parser.get_method().decode()
        path, _, query = self._url.decode("latin-1").partition("?")
        headers, body = self._headers, bytes(self._body)
        keep_alive = self._parser.should_keep_alive()
        self._begin()
        if path.startswith("/__"):
            self._control(method, path, query, body)
            return
        _, lane, rest = path.split("/", 2)
        call = Call(len(self.server.calls) + 1, lane, method, f"/{rest}", headers)
        call.body = body
        self.call = call
        self.server.note(call)
        self.task = asyncio.get_running_loop().create_task(self._answer(call, keep_alive))

    # --- answers ---

    async def _answer(self, call: Call, keep_alive: bool) -> None:
        try:
            request, plan = self._read(call)
            await asyncio.sleep(plan.delay)
            await self._fault(plan, BEFORE_HEAD)
            if request.get("stream") and not plan.ignore_stream and plan.body is None and plan.status == 200:
                await self._stream(call, plan, request)
            else:
                await self._whole(call, plan, self._body_of(call, plan, request))
        except _Faulted:
            # The caller sees the end that the script asked for: it did not leave.
            call.finished = True
        else:
            call.finished = True
            if plan.late:
                await asyncio.sleep(_SETTLE)
                self._transport.write(plan.late)
            if not keep_alive or plan.framing == "close":
                self._transport.close()
        self.server.notify()

    def _read(self, call: Call) -> tuple[dict[str, Any], Script]:
        lane = self.server.lane(call.lane)
        if call.path not in _ENDPOINTS and call.path != "/v1/models":
            return {}, Script(status=404, body=error_body(f"Invalid URL ({call.method} {call.path})"))
        if call.method == "GET":
            return {}, lane.models_script or Script()
        try:
            request = json.loads(call.body)
            asked = request.get(FIELD) if isinstance(request, dict) else None
            own = msgspec.convert(asked, Script) if asked is not None else None
        except (ValueError, msgspec.ValidationError) as fault:
            return {}, Script(status=400, body=error_body(f"the fake cannot read this: {fault}"))
        return request, lane.take(own)

    def _body_of(self, call: Call, plan: Script, request: dict[str, Any]) -> bytes:
        if plan.body is not None:
            return plan.body
        if call.path == "/v1/models":
            return msgspec.json.encode(openai_wire.models(self.server.lane(call.lane).models))
        return msgspec.json.encode(_ENDPOINTS[call.path][0](call.number, plan, request, call.lane))

    async def _whole(self, call: Call, plan: Script, body: bytes) -> None:
        length = plan.content_length if plan.content_length is not None else len(body)
        framings = {"chunked": "transfer-encoding: chunked", "close": "connection: close"}
        framing = framings.get(plan.framing or "", f"content-length: {length}")
        self._head(plan, plan.content_type or "application/json", framing, call)
        await self._fault(plan, 0)
        sent = 0
        for part in _split(body, plan.split or -1):
            faulted = plan.fault != "none" and 0 < plan.fault_at < sent + len(part)
            written = part[: plan.fault_at - sent] if faulted else part
            call.sent += written
            await self._write(_framed(written, plan.framing == "chunked"), plan)
            sent += len(written)
            await self._fault(plan, sent)
        if plan.framing == "chunked":
            self._transport.write(_last_chunk(plan))
        elif length > len(body):
            self._transport.close()

    async def _stream(self, call: Call, plan: Script, request: dict[str, Any]) -> None:
        chunked = plan.framing != "close"
        framing = "transfer-encoding: chunked" if chunked else "connection: close"
        self._head(plan, plan.content_type or "text/event-stream; charset=utf-8", framing, call)
        await self._fault(plan, 0)
        if plan.preamble:
            await self._events(call, plan, plan.preamble.encode())
        held = b""
        named = call.path == "/v1/responses"
        for number, event in enumerate(self._payloads(call, plan, request), 1):
            if plan.gap:
                await asyncio.sleep(plan.gap)
            name = f"event: {json.loads(event)['type']}{plan.line_end}" if named and event[0] == "{" else ""
            block = f"{name}data: {event}{plan.line_end}{plan.line_end}".encode()
            if plan.split == -1:
                held += block
                continue
            await self._events(call, plan, block)
            await self._fault(plan, number)
        if held:
            await self._events(call, plan, held)
        if chunked:
            self._transport.write(_last_chunk(plan))

    def _payloads(self, call: Call, plan: Script, request: dict[str, Any]) -> Iterator[str]:
        if plan.events is not None:
            yield from plan.events
        else:
            for chunk in _ENDPOINTS[call.path][1](call.number, plan, request, call.lane):
                yield json.dumps(chunk, ensure_ascii=False, separators=(",", ":"))
        if plan.done and call.path != "/v1/responses":
            yield "[DONE]"

    async def _events(self, call: Call, plan: Script, block: bytes) -> None:
        call.sent += block
        for part in _split(block, plan.split):
            await self._write(_framed(part, plan.framing != "close"), plan)

    # --- the wire ---

    @property
    def _transport(self) -> asyncio.Transport:
        assert self.transport is not None
        return self.transport

    def _head(self, plan: Script, content_type: str, framing: str, call: Call) -> None:
        lines = [f"HTTP/1.1 {plan.status} {_REASONS.get(plan.status, 'Status')}"]
        # Things that real providers send and that must not reach a gateway's client.
        given = {
            "x-request-id": f"req_fake{call.number}",
            "openai-organization": "org-fake",
            "server": "fake",
        }
        given |= {"x-ratelimit-limit-requests": "10000", "set-cookie": "fake=1"} | plan.headers
        lines += [f"{name}: {value}" for name, value in given.items()]
        lines += [f"content-type: {content_type}", framing, "", ""]
        self._transport.write(plan.early + "\r\n".join(lines).encode())

    async def _write(self, data: bytes, plan: Script) -> None:
        await self._writable.wait()
        self._transport.write(data)
        if plan.split > 0 or plan.split_gap:
            await asyncio.sleep(plan.split_gap)

    async def _fault(self, plan: Script, at: int) -> None:
        if plan.fault == "none" or plan.fault_at != at:
            return
        await asyncio.sleep(_SETTLE)
        if plan.fault == "stall":
            await asyncio.sleep(_STALL)
        elif plan.fault == "reset":
            linger = struct.pack("ii", 1, 0)
            self._transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            self._transport.abort()
        else:
            self._transport.close()
        raise _Faulted

    # --- control ---

    def _control(self, method: str, path: str, query: str, body: bytes) -> None:
        answer: Any = {}
        if path == "/__calls" and method == "GET":
            answer = [call.to_builtins() for call in self.server.calls if query in ("", call.lane)]
        elif path == "/__calls" and method == "DELETE":
            with self.server.changed:
                self.server.calls.clear()
                for lane in self.server.lanes.values():
                    lane.calls.clear()
        elif path.startswith("/__lanes/") and method == "PUT":
            _set_lane(self.server.lane(path.removeprefix("/__lanes/")), json.loads(body))
        data = msgspec.json.encode(answer)
        head = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(data)}\r\n\r\n"
        self._transport.write(head.encode() + data)


def _set_lane(lane: Lane, asked: dict[str, Any]) -> None:
    lane.default = msgspec.convert(asked.get("default", {}), Script)
    lane.next.extend(msgspec.convert(asked.get("next", []), list[Script]))
    lane.models = tuple(asked.get("models", lane.models))


def _framed(part: bytes, chunked: bool) -> bytes:
    return b"%x\r\n%s\r\n" % (len(part), part) if chunked and part else part


def _last_chunk(plan: Script) -> bytes:
    return f"0\r\n{plan.trailer}\r\n".encode()


def _split(data: bytes, size: int) -> Iterator[bytes]:
    if size <= 0:
        yield data
        return
    for start in range(0, len(data), size):
        yield data[start : start + size]


def main() -> None:
    """Serve in the foreground, as a process of its own."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--port", type=int, default=0)
    fake = FakeUpstream(parser.parse_args().port)
    print(fake.origin, flush=True)
    with suppress(KeyboardInterrupt):
        fake.serve_forever()


if __name__ == "__main__":
    main()
