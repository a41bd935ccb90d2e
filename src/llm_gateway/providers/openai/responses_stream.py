"""Reads the Responses API's event stream on its way through: content, usage, failures, the end; changes no byte."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from llm_gateway.core.ledger.usage import Usage
from llm_gateway.core.sse import EventSplitter, EventTooLarge, event_data, split_events
from llm_gateway.providers.base import StreamSample, StreamTail, UpstreamErrorBody
from llm_gateway.providers.openai.errors import NOT_JSON
from llm_gateway.providers.openai.responses import read_response, response_refusal
from llm_gateway.providers.stream_sample import StreamSampler
from llm_gateway.wire.errors import BadReply
from llm_gateway.wire.openai_responses.responses import ResponsesUsage, response_as_events, responses_usage

# How an event begins that has one more piece of something. Neither can stand in JSON, which has no raw line ends.
_PIECE = b".delta\ndata: "
_TYPED = b'data: {"type":"response.'
# In a JSON string a quote is escaped. What holds none of these has nothing that must be acted on.
_WORTH_A_LOOK = (
    b"response.completed", b"response.incomplete", b"response.failed", b'"error"', b"event: error",
    b"event:error", b"[DONE]",
)  # fmt: skip
_LAST = frozenset({"response.completed", "response.incomplete"})
_EMPTY_SO_FAR = frozenset({"response.created", "response.queued", "response.in_progress"})
_NUMBER = re.compile(rb'"sequence_number"\s*:\s*(\d{1,15})\b')
_NAME = re.compile(rb"(?:^|[\r\n])event: ?([^\r\n]*)")


class _Piece(msgspec.Struct, gc=False):
    """An output item, or a part of one."""

    type: str | None = None
    content: list[msgspec.Raw] | None = None
    summary: list[msgspec.Raw] | None = None
    text: str | None = None
    refusal: str | None = None


class _Response(msgspec.Struct, gc=False):
    usage: ResponsesUsage | None = None


class _Event(msgspec.Struct, gc=False):
    type: str | None = None
    delta: msgspec.Raw = msgspec.Raw(b"null")
    item: _Piece | None = None
    part: _Piece | None = None
    response: _Response | None = None
    error: msgspec.Raw = msgspec.Raw(b"null")


_decode_event = msgspec.json.Decoder(_Event).decode


class ResponsesStream:
    """One streamed response; see ReplyStream for what the attributes say."""

    __slots__ = (
        "_failed", "_kept", "_latest", "_splitter",
        "content_seen", "done", "finished", "refusal", "usage",
    )  # fmt: skip

    def __init__(self, *, event_limit: int) -> None:
        """Allow `event_limit` bytes for one event."""
        self._splitter = EventSplitter(event_limit)
        self._kept = StreamSampler()
        self._latest = b""
        self._failed: bytes | None = None
        self.content_seen = False
        self.done = False
        self.finished = False
        self.refusal: UpstreamErrorBody | None = None
        self.usage: Usage | None = None

    def feed(self, data: bytes) -> bytes:
        """Return what goes on to the client of all events that are whole by now."""
        try:
            block = self._splitter.feed(data)
        except EventTooLarge:
            message = "one event of the provider's stream is too large"
            raise BadReply(message) from None
        if not block:
            return b""
        if not (self.content_seen and _is_quiet(block)):
            block = self._look(block)
        if block:
            self._latest = block
            self._kept.add(block, wanted=self.usage is None)
        return block

    def end(self) -> bytes:
        """Take the provider's end: return what goes on of a last event that lacks its blank line."""
        rest = self._splitter.rest()
        # Half an event would reach the client as broken JSON: a cut is told by an error event instead.
        return self.feed(rest + b"\n\n") if rest.strip() and _is_whole(rest) else b""

    def whole(self, body: bytes) -> bytes:
        """Take a response that answered the streamed request; return its events."""
        read_response(body)
        return self.feed(response_as_events(body))

    def kept(self) -> StreamSample:
        """Return what was relayed."""
        return self._kept.value()

    @property
    def tail(self) -> StreamTail:
        """Return the number of the event that would come next, and the provider's own `response.failed`."""
        numbers = _NUMBER.findall(self._latest)
        return StreamTail(sequence_number=int(numbers[-1]) + 1 if numbers else 0, failed_event=self._failed)

    def _look(self, block: bytes) -> bytes:
        """Go through `block` event by event; nothing follows the last event or a failure."""
        relayed = []
        for event in split_events(block):
            if self.done or self.refusal is not None:
                break
            data = event_data(event)
            # [DONE] is not a word of this dialect, though some servers say it.
            if data is None or (data.strip() != b"[DONE]" and self._relay(data, event)):
                relayed.append(event)
        return b"".join(relayed)

    def _relay(self, data: bytes, event: bytes) -> bool:
        """Learn from one event; tell whether the client gets it."""
        try:
            said = _decode_event(data)
        except (msgspec.ValidationError, UnicodeDecodeError):
            # JSON of a shape of the provider's own: not ours to judge, but for what it is.
            kind = _object(data).get("type")
            said = _Event(type=kind if isinstance(kind, str) else None)
        except (msgspec.DecodeError, RecursionError):
            if not self.content_seen:
                message = "an event of the provider's stream is not JSON"
                raise BadReply(message) from None
            self.refusal = NOT_JSON
            return False
        kind = said.type or _name(event)
        if kind == "response.failed":
            self._fail_with_response(data)
        elif kind == "error" or (said.type is None and bytes(said.error) != b"null"):
            value = _object(data)
            self.refusal = response_refusal(
                value if value.get("error") else {"error": {**value, "type": None}}
            )
        elif kind in _LAST:
            self.usage = responses_usage(said.response.usage) if said.response is not None else None
            self.content_seen = self.finished = self.done = True
        elif not self.content_seen:
            self.content_seen = _has_content(kind, said)
        return self.refusal is None

    def _fail_with_response(self, data: bytes) -> None:
        response = _object(data).get("response")
        self.refusal = response_refusal(response)
        if isinstance(response, dict):
            self._failed = data
            self.usage = _usage_of(response)


def _is_quiet(block: bytes) -> bool:
    """Tell, without parsing, that nothing in `block` has to be acted on."""
    events = block.count(b"\n\n")
    if not events or events != block.count(b"}\n\n"):
        # Lines that end in another way, or JSON without its end.
        return False
    if events == block.count(_PIECE):
        return True
    return events == block.count(_TYPED) and not any(mark in block for mark in _WORTH_A_LOOK)


def _has_content(kind: str, event: _Event) -> bool:
    """Tell whether an event is more than the frame of an answer: a piece of text, a call of a tool, anything new."""
    if kind in _EMPTY_SO_FAR or not kind.startswith("response."):
        return False
    if kind == "response.output_item.added" and event.item is not None:
        item = event.item
        return item.type not in {"message", "reasoning"} or bool(item.content or item.summary)
    if kind.endswith("_part.added") and event.part is not None:
        return bool(event.part.text or event.part.refusal)
    if kind.endswith(".delta"):
        return bytes(event.delta) not in {b"null", b'""'}
    return True


def _object(data: bytes) -> dict[str, Any]:
    """Decode an object; whatever else it is, is taken for an empty one."""
    try:
        value = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _usage_of(response: dict[str, Any]) -> Usage | None:
    try:
        return responses_usage(msgspec.convert(response.get("usage"), ResponsesUsage | None))
    except msgspec.ValidationError:
        return None


def _name(event: bytes) -> str:
    found = _NAME.search(event)
    return found[1].decode("utf-8", "replace").strip() if found is not None else ""


def _is_whole(event: bytes) -> bool:
    data = event_data(event + b"\n\n")
    if data is None or data.strip() == b"[DONE]":
        return True
    try:
        msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    return True
