"""The simulated provider: deterministic text with real pacing, usage and faults, for demos and tests.

Its options are the query of `simulated://name?...`:

- `latency_ms`: time before the reply, in milliseconds (default 0).
- `chunk_ms`: time between the chunks of a stream, in milliseconds (default 20).
- `words`: number of words in the answer (default 40).
- `fault`: a status such as `503`, or `connect`, `cut`, `stall` (default: no fault).
- `fault_every`: every nth request has the fault (default 1: every request).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import msgspec

from llm_gateway.core.sse import DONE
from llm_gateway.flow.ports.upstream import (
    OversizedReply,
    QuietContent,
    TransportError,
    Upstream,
    UpstreamReply,
)
from llm_gateway.infra.upstream.simulated.bodies import embeddings, response, response_events
from llm_gateway.providers.base import UpstreamRequest
from llm_gateway.wire.openai_responses.responses import event_bytes

_WORDS = (
    "The gateway answers from its built in simulation so every word of this reply is the same each time you ask "
    "and nothing left this machine to make it yet the pacing the token counts and the stream are real"
).split()
_FOREVER = 86_400.0
# Any name works; one is listed, so that a test of the provider has a model to ask for.
_MODELS = {
    "object": "list",
    "data": [{"id": "simulated", "object": "model", "created": 0, "owned_by": "simulated"}],
}


class _Options(msgspec.Struct):
    latency_ms: float = 0.0
    chunk_ms: float = 20.0
    words: int = 40
    fault: str = ""
    fault_every: int = 1


class SimulatedUpstream(Upstream):
    """Answers OpenAI requests without a network."""

    def __init__(self) -> None:
        # Number of requests by URL, for `fault_every`.
        self._requests: dict[str, int] = {}

    async def send(self, request: UpstreamRequest, timeout: float) -> SimulatedReply:
        """Return a reply as OpenAI would send it; raise TransportError for a simulated fault."""
        parts = urlsplit(request.url)
        options = _options_from(parts.query)
        count = self._requests[request.url] = self._requests.get(request.url, 0) + 1
        fault = options.fault if options.fault and count % max(options.fault_every, 1) == 0 else ""
        if fault == "connect":
            raise TransportError("connect", "could not connect to the provider")
        await _pause(_FOREVER if fault == "stall" else options.latency_ms / 1000, timeout)
        if fault.isdigit():
            return _refuse(int(fault))
        if parts.path.endswith("/models"):
            return SimulatedReply(200, _whole(_MODELS), streamed=False)
        try:
            return _answer(msgspec.json.decode(request.body), parts.path, options, cut=fault == "cut")
        except (TypeError, ValueError, AttributeError):
            # A field has the wrong type.
            return _refuse(400)

    async def close(self) -> None:
        """Do nothing: there are no connections."""


class SimulatedReply(UpstreamReply):
    """A reply whose body comes from an iterator of bytes."""

    def __init__(self, status: int, body: AsyncIterator[bytes], *, streamed: bool) -> None:
        self.status = status
        self._type = "text/event-stream" if streamed else "application/json"
        self._body = body
        self._next: asyncio.Task[bytes] | None = None

    def header(self, name: str) -> str | None:
        """Return the content type, the only header."""
        return self._type if name == "content-type" else None

    async def read(self, timeout: float) -> bytes:
        """Return the next event; after a timeout, the next read continues with the same event."""
        if self._next is None:
            self._next = asyncio.ensure_future(self._advance())
        done, _ = await asyncio.wait({self._next}, timeout=timeout)
        if not done:
            raise TransportError("timeout", "the provider stopped sending")
        task, self._next = self._next, None
        return task.result()

    async def read_all(self, limit: int, timeout: float) -> bytes:
        deadline = time.monotonic() + timeout
        parts = []
        while data := await self.read(max(deadline - time.monotonic(), 0.0)):
            parts.append(data)
            if sum(map(len, parts)) > limit:
                raise OversizedReply
        return b"".join(parts)

    async def relay(
        self, take: Callable[[bytes], bool], patience: float, quiet: QuietContent | None = None
    ) -> None:
        """Return at once: the body is read with `read`."""

    def finish(self) -> None:
        self.close()

    def close(self) -> None:
        if self._next is not None:
            self._next.cancel()

    async def _advance(self) -> bytes:
        return await anext(self._body, b"")


async def _pause(seconds: float, timeout: float) -> None:
    await asyncio.sleep(min(seconds, timeout))
    if seconds > timeout:
        raise TransportError("timeout", "the provider did not reply in time")


def _options_from(query: str) -> _Options:
    values = {name: found[-1] for name, found in parse_qs(query).items()}
    try:
        return msgspec.convert(values, _Options, strict=False)
    except msgspec.ValidationError as error:
        raise TransportError("protocol", f"invalid option of the simulated provider: {error}") from None


async def _whole(value: dict[str, Any]) -> AsyncIterator[bytes]:
    yield msgspec.json.encode(value)


def _refuse(status: int) -> SimulatedReply:
    error = {"message": f"Simulated fault {status}.", "type": "simulated_error", "code": None, "param": None}
    return SimulatedReply(status, _whole({"error": error}), streamed=False)


def _answer(body: dict[str, Any], path: str, options: _Options, *, cut: bool) -> SimulatedReply:
    if path.endswith("/embeddings"):
        return SimulatedReply(200, _whole(embeddings(body)), streamed=False)
    limits = (body.get(name) for name in ("max_completion_tokens", "max_tokens", "max_output_tokens"))
    limit = next(filter(None, limits), options.words)
    words = [_WORDS[index % len(_WORDS)] for index in range(min(options.words, int(limit)))]
    if path.endswith("/responses"):
        return _respond(body, words, options, cut=cut)
    return _complete(body, path, words, options, cut=cut)


def _respond(body: dict[str, Any], words: list[str], options: _Options, *, cut: bool) -> SimulatedReply:
    whole = response(body, words, cut_short=len(words) < options.words)
    if not body.get("stream"):
        return SimulatedReply(200, _whole(whole), streamed=False)
    events = (
        event_bytes({**event, "sequence_number": number})
        for number, event in enumerate(response_events(whole, words))
    )
    return SimulatedReply(200, _paced(events, options, len(words) // 2 if cut else None), streamed=True)


def _complete(
    body: dict[str, Any], path: str, words: list[str], options: _Options, *, cut: bool
) -> SimulatedReply:
    chat = path.endswith("/chat/completions")
    prompt = msgspec.json.encode(body.get("messages") if chat else body.get("prompt"))
    usage = {"prompt_tokens": len(prompt) // 4 + 1, "completion_tokens": len(words)}
    usage["total_tokens"] = sum(usage.values())
    head = {
        "id": f"{'chatcmpl' if chat else 'cmpl'}-simulated",
        "object": "chat.completion" if chat else "text_completion",
        "created": int(time.time()),
        "model": body.get("model", ""),
    }
    finish = "length" if len(words) < options.words else "stop"
    if not body.get("stream"):
        text = " ".join(words)
        part = {"message": {"role": "assistant", "content": text}} if chat else {"text": text}
        whole = {**head, "choices": [{"index": 0, **part, "finish_reason": finish}], "usage": usage}
        return SimulatedReply(200, _whole(whole), streamed=False)
    if chat:
        head["object"] = "chat.completion.chunk"
    reported_usage = usage if (body.get("stream_options") or {}).get("include_usage") else None
    chunks = (
        b"data: " + msgspec.json.encode(chunk) + b"\n\n"
        for chunk in _chunks(head, words, finish, reported_usage, chat=chat)
    )
    paced = _paced(chunks, options, len(words) // 2 if cut else None, ending=DONE)
    return SimulatedReply(200, paced, streamed=True)


def _chunks(
    head: dict[str, Any], words: list[str], finish: str, usage: dict[str, int] | None, *, chat: bool
) -> Iterator[dict[str, Any]]:
    def choice(delta: dict[str, str], reason: str | None = None) -> dict[str, Any]:
        part = {"delta": delta} if chat else {"text": delta.get("content", "")}
        return {**head, "choices": [{"index": 0, **part, "finish_reason": reason}]}

    if chat:
        yield choice({"role": "assistant", "content": ""})
    for index, word in enumerate(words):
        yield choice({"content": word if index == 0 else f" {word}"})
    yield choice({}, finish)
    if usage is not None:
        yield {**head, "choices": [], "usage": usage}


async def _paced(
    events: Iterator[bytes], options: _Options, cut_after: int | None, *, ending: bytes = b""
) -> AsyncIterator[bytes]:
    for index, event in enumerate(events):
        if cut_after is not None and index > cut_after:
            raise TransportError("cut", "the provider closed the connection before the end of its reply")
        if index and options.chunk_ms:
            await asyncio.sleep(options.chunk_ms / 1000)
        yield event
    if ending:
        yield ending
