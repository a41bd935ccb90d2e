"""Base of the readers that translate a stream: splits it into events, samples it, and detects its end."""

from __future__ import annotations

from abc import ABC, abstractmethod

import msgspec

from llm_gateway.core.ledger.usage import StatedUsage, Usage
from llm_gateway.core.model_request import ModelRequest
from llm_gateway.core.sse import EventSplitter, EventTooLarge, event_data, is_noise, split_events
from llm_gateway.providers.base import NO_TAIL, StreamSample, UpstreamErrorBody
from llm_gateway.providers.stream_sample import StreamSampler
from llm_gateway.wire.errors import BadReply, OversizedEvent
from llm_gateway.wire.openai_chat.reply_writer import ReplyWriter

_UNREADABLE_STREAM = UpstreamErrorBody(
    message="The provider's stream became unreadable.", type="upstream_error", code="upstream_error"
)

# Bytes of white space that may precede the first line of a stream.
_LONGEST_BLANK = 1024


class TranslatedStream(ABC):
    """Implements ReplyStream; a dialect translates its events in `take` and its JSON replies in `take_whole`.

    `take` sets `content_seen` with the first content, `finished` with the finish reason, and `done` with the
    dialect's last event. Both methods set `usage` and `refusal`.
    """

    json_lines = False
    tail = NO_TAIL

    def __init__(self, request: ModelRequest, *, event_limit: int) -> None:
        self.writer = ReplyWriter(request)
        self._splitter = EventSplitter(event_limit)
        self._sample = StreamSampler()
        self._has_events = False
        self.content_seen = False
        self.done = False
        self.finished = False
        self.refusal: UpstreamErrorBody | None = None
        self.usage: Usage | StatedUsage | None = None

    @abstractmethod
    def take(self, data: bytes) -> bytes:
        """Translate the data of one event; return the events for the client, b"" for none. May raise BadReply."""

    @abstractmethod
    def take_whole(self, body: bytes) -> bytes:
        """Translate a JSON reply; return all events. Raise BadReply if it is not a complete reply."""

    def take_done(self) -> bytes:
        """Handle OpenAI's end marker, which is in no translated dialect but some servers send it."""
        self.done = self.finished
        return b""

    def feed(self, data: bytes) -> bytes:
        try:
            block = self._splitter.feed(data)
        except EventTooLarge as large:
            raise OversizedEvent(str(large)) from None
        if not block:
            return b""
        self._has_events = True
        out = []
        for event in split_events(block):
            if self.done or self.refusal is not None:
                break
            try:
                out.append(self._read(event))
            except BadReply:
                if is_noise(event_data(event) or b""):
                    continue
                if not self.content_seen:
                    raise
                # Events before this one, perhaps in the same bytes, still go to the client.
                self.refusal = _UNREADABLE_STREAM
        return self._record(b"".join(out))

    def end(self) -> bytes:
        """Read what lacks only its blank line: a last event, or a JSON reply that was not labelled as one.

        Half an event does not count.
        """
        rest = self._splitter.rest()
        if not _is_whole(rest):
            return b""
        if not self._has_events and rest.lstrip().startswith((b"{", b"[")):
            return self.whole(rest)
        return self.feed(rest + b"\n\n")

    def whole(self, body: bytes) -> bytes:
        if is_event_stream(body):
            return self._whole_stream(body)
        out = self._record(self.take_whole(body))
        if self.refusal is None:
            self.content_seen = self.finished = self.done = True
        return out

    def _whole_stream(self, body: bytes) -> bytes:
        """Read a stream that was labelled as JSON."""
        out = self.feed(body) + self.end()
        if self.refusal is None and not self.finished:
            message = "the provider's stream ended before the answer did"
            raise BadReply(message)
        self.done = self.refusal is None
        return out

    def sample(self) -> StreamSample:
        return self._sample.value()

    def _read(self, event: bytes) -> bytes:
        payload = event_data(event)
        if payload is not None:
            return self._read_data(payload)
        text = event.strip()
        # Comments are left out: one SDK takes them for errors. Some servers write a bare JSON error into a stream.
        return self.take(text) if text.startswith((b"{", b"[")) else b""

    def _read_data(self, payload: bytes) -> bytes:
        text = payload.strip()
        if text == b"[DONE]":
            return self.take_done()
        # Some servers send empty data to keep the connection open.
        return self.take(payload) if text else b""

    def _record(self, block: bytes) -> bytes:
        self._sample.add(block)
        return block


def is_event_stream(body: bytes) -> bool:
    """Tell whether a body has the form of an event stream, whatever its content type says."""
    return body[:_LONGEST_BLANK].lstrip().startswith((b"data:", b"event:", b":", b"id:", b"retry:"))


def _is_whole(event: bytes) -> bool:
    data = event_data(event + b"\n\n")
    try:
        msgspec.json.decode(event if data is None else data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    return True
