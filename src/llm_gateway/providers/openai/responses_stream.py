"""Reads the Responses API's event stream while relaying it unchanged: content, usage, failures and the end."""

from __future__ import annotations

import re
from collections.abc import Container
from typing import Any

import msgspec

from llm_gateway.core.json_bounds import LARGE
from llm_gateway.core.ledger.usage import StatedUsage, Usage
from llm_gateway.core.sse import EventSplitter, EventTooLarge, event_data, is_noise, split_events
from llm_gateway.providers.base import StreamSample, StreamTail, UpstreamErrorBody
from llm_gateway.providers.openai.errors import NOT_JSON
from llm_gateway.providers.openai.failures import NO_ANSWER, error_in
from llm_gateway.providers.openai.responses import (
    read_response,
    refusal_of_response,
    response_error_body,
    usage_of_response,
)
from llm_gateway.providers.openai.whole_replies import without_prelude
from llm_gateway.providers.stream_sample import StreamSampler
from llm_gateway.wire.errors import BadReply, OversizedEvent
from llm_gateway.wire.loose_json import read_json
from llm_gateway.wire.openai_responses.responses import response_as_events
from llm_gateway.wire.stated_costs import CostReader
from llm_gateway.wire.token_counts import updated

# The start of a delta event. Neither can occur inside JSON, which has no raw line ends.
_PIECE = b".delta\ndata: "
_TYPED = b'data: {"type":"response.'
# In a JSON string quotes are escaped. An event without any of these needs no parsing.
_WORTH_A_LOOK = (
    b"response.completed", b"response.incomplete", b"response.failed", b'"error"', b"event: error",
    b"event:error", b"[DONE]",
)  # fmt: skip
_LAST = frozenset({"response.completed", "response.incomplete"})
_EMPTY_SO_FAR = frozenset({"response.created", "response.queued", "response.in_progress"})
# Their response is read; of other events only whether they have content.
_TO_BE_READ = _LAST | _EMPTY_SO_FAR | {"response.failed", "error"}
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_FILLED = msgspec.Raw(b"true")
_NUMBER = re.compile(rb'"sequence_number"\s*:\s*(\d{1,15})\b')
_NAME = re.compile(rb"(?:^|[\r\n])event: ?([^\r\n]*)")


class _Piece(msgspec.Struct, gc=False):
    """An output item, or a part of one."""

    type: str | None = None
    content: list[msgspec.Raw] | None = None
    summary: list[msgspec.Raw] | None = None
    text: str | None = None
    refusal: str | None = None


class _Event(msgspec.Struct, gc=False):
    type: str | None = None
    delta: msgspec.Raw = msgspec.Raw(b"null")
    item: _Piece | None = None
    part: _Piece | None = None


_decode_event = msgspec.json.Decoder(_Event).decode


class ResponsesStream:
    """One streamed response; ReplyStream documents the attributes."""

    json_lines = False

    __slots__ = (
        "_asked",
        "_begun",
        "_failed",
        "_latest",
        "_read_cost",
        "_sample",
        "_splitter",
        "content_seen",
        "done",
        "finished",
        "refusal",
        "usage",
    )  # fmt: skip

    def __init__(
        self, *, event_limit: int, read_cost: CostReader | None = None, asked: Container[str] = ()
    ) -> None:
        self._asked = asked
        self._read_cost = read_cost
        self._splitter = EventSplitter(event_limit)
        self._sample = StreamSampler()
        self._latest = b""
        self._begun: bytes | None = None
        self._failed: bytes | None = None
        self.content_seen = False
        self.done = False
        self.finished = False
        self.refusal: UpstreamErrorBody | None = None
        self.usage: Usage | StatedUsage | None = None

    def feed(self, data: bytes) -> bytes:
        try:
            block = self._splitter.feed(data)
        except EventTooLarge as large:
            raise OversizedEvent(str(large)) from None
        if not block:
            return b""
        if not (self.content_seen and _is_quiet(block)):
            block = self._look(block)
        if block:
            self._latest = block
            self._sample.add(block)
        return block

    def end(self) -> bytes:
        rest = self._splitter.rest()
        # Half an event would reach the client as broken JSON; it gets an error event instead.
        return self.feed(rest + b"\n\n") if rest.strip() and _is_whole(rest) else b""

    def whole(self, body: bytes) -> bytes:
        body = without_prelude(body)
        self.refusal = read_response(body).refusal
        if self.refusal is not None:
            return b""
        return self.feed(response_as_events(body))

    def sample(self) -> StreamSample:
        return self._sample.value()

    @property
    def tail(self) -> StreamTail:
        """Return the number of the event that would come next, and the events that have the response."""
        numbers = _NUMBER.findall(self._latest)
        return StreamTail(
            sequence_number=int(numbers[-1]) + 1 if numbers else 0,
            failed_event=self._failed,
            begun_event=self._begun,
        )

    def _look(self, block: bytes) -> bytes:
        """Read `block` event by event; relay nothing after the last event or a failure."""
        relayed = []
        for event in split_events(block):
            if self.done or self.refusal is not None:
                break
            data = event_data(event)
            if data is None and event.lstrip().startswith(b"{"):
                # Some servers write a bare error into a stream.
                data = b" ".join(event.strip().splitlines())
                event = b"data: " + data + b"\n\n"  # noqa: PLW2901 - read in its place
            # Comments are left out (one SDK takes them for errors), and [DONE], which is not part of this API, though
            # some servers send it.
            if data is not None and data.strip() != b"[DONE]" and self._relay(data, event):
                relayed.append(event)
        return b"".join(relayed)

    def _relay(self, data: bytes, event: bytes) -> bool:
        """Read one event; return whether to relay it."""
        name = _name(event)
        if not data.strip() and not name.startswith("error"):
            # A heartbeat. Clients would read its data as JSON.
            return False
        try:
            decoded = _decode_event(data)
            kind = decoded.type or name
            if kind in _TO_BE_READ or decoded.type is None:
                return self._read(read_json(data), data, kind)
        except _UNREADABLE:
            try:
                value = read_json(data)
            except BadReply:
                if is_noise(data):
                    return False
                if not self.content_seen:
                    message = "an event of the provider's stream is not JSON"
                    raise BadReply(message) from None
                self.refusal = NOT_JSON
                return False
            stated = value.get("type") if isinstance(value, dict) else None
            kind = stated if isinstance(stated, str) and stated else name
            if kind in _TO_BE_READ or stated is None:
                return self._read(value, data, kind)
            decoded = _event_from(value)
        if not self.content_seen:
            self.content_seen = _has_content(kind, decoded)
        return True

    def _read(self, value: object, data: bytes, kind: str) -> bool:
        """Read an event that may begin or end the stream; return whether to relay it."""
        fields = value if isinstance(value, dict) else {}
        response = fields.get("response")
        if kind == "response.failed":
            self._fail_with_response(response, data)
        elif kind == "error":
            self.refusal = response_error_body(
                fields if fields.get("error") else {"error": {**fields, "type": None}}
            )
        elif not kind.startswith("response.") and (failure := error_in(value)) is not None:
            self.refusal = response_error_body(fields) if fields.get("error") else failure
        elif kind in _LAST:
            self._end_with_response(response, data)
        elif kind in _EMPTY_SO_FAR and isinstance(response, dict):
            self._begun = data
            # The output was not written yet, whatever is stated of it.
            self._note_usage(response)
            self.usage = updated(self.usage, None, has_content=True)
        elif not self.content_seen:
            self.content_seen = _has_content(kind, _event_from(value))
        return self.refusal is None

    def _end_with_response(self, response: object, data: bytes) -> None:
        try:
            refusal = refusal_of_response(response, has_content=self.content_seen)
        except BadReply:
            refusal = None if self.content_seen else NO_ANSWER
        self._note_usage(response)
        if refusal is None:
            self.content_seen = self.finished = self.done = True
        elif isinstance(response, dict) and response.get("status") == "failed":
            self._fail_with_response(response, data)
        else:
            self.refusal = refusal

    def _fail_with_response(self, response: object, data: bytes) -> None:
        self.refusal = response_error_body(response)
        if isinstance(response, dict):
            # A larger one would take long to redact; the last event repeats less of the response then.
            self._failed = data if len(data) < LARGE else None
            self._note_usage(response)

    def _note_usage(self, response: object) -> None:
        stated = usage_of_response(response, self._read_cost, self._asked)
        self.usage = updated(self.usage, stated, has_content=False)


def _is_quiet(block: bytes) -> bool:
    """Tell, without parsing, whether `block` can be relayed without a closer look."""
    events = block.count(b"\n\n")
    if not events or events != block.count(b"}\n\n"):
        # Unusual line ends, or incomplete JSON.
        return False
    if events == block.count(_PIECE):
        return True
    return events == block.count(_TYPED) and not any(mark in block for mark in _WORTH_A_LOOK)


def _has_content(kind: str, event: _Event) -> bool:
    """Tell whether an event has content: text, a tool call, or an unknown type."""
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


def _event_from(value: object) -> _Event:
    """Return what can be read of a decoded event that tells whether it has content."""
    if not isinstance(value, dict):
        return _Event()
    fields: dict[str, Any] = {}
    for name in ("item", "part"):
        try:
            fields[name] = msgspec.convert(value.get(name), _Piece | None)
        except (msgspec.ValidationError, UnicodeEncodeError):
            continue
    return _Event(delta=_FILLED if value.get("delta") else msgspec.Raw(b"null"), **fields)


def _name(event: bytes) -> str:
    found = _NAME.search(event)
    return found[1].decode("utf-8", "replace").strip() if found is not None else ""


def _is_whole(event: bytes) -> bool:
    data = event_data(event + b"\n\n")
    if data is None or data.strip() == b"[DONE]":
        return True
    try:
        read_json(data)
    except BadReply:
        return False
    return True
