"""Base of the readers that translate a stream: splits it into events, samples it, and detects its end."""

from __future__ import annotations

from abc import ABC, abstractmethod

import msgspec

from llm_gateway.core.ledger.usage import Usage
from llm_gateway.core.model_request import ModelRequest
from llm_gateway.core.sse import EventSplitter, EventTooLarge, event_data, split_events
from llm_gateway.providers.base import NO_TAIL, StreamSample, UpstreamErrorBody
from llm_gateway.providers.stream_sample import StreamSampler
from llm_gateway.wire.errors import BadReply
from llm_gateway.wire.openai_chat.reply_writer import ReplyWriter

_UNREADABLE_STREAM = UpstreamErrorBody(
    message="The provider's stream became unreadable.", type="upstream_error", code="upstream_error"
)


class TranslatedStream(ABC):
    """Implements ReplyStream; a dialect translates its events in `take` and its JSON replies in `take_whole`.

    `take` sets `content_seen` with the first content, `finished` with the finish reason, and `done` with the
    dialect's last event. Both methods set `usage` and `refusal`.
    """

    tail = NO_TAIL

    def __init__(self, request: ModelRequest, *, event_limit: int) -> None:
        self.writer = ReplyWriter(request)
        self._splitter = EventSplitter(event_limit)
        self._sample = StreamSampler()
        self.content_seen = False
        self.done = False
        self.finished = False
        self.refusal: UpstreamErrorBody | None = None
        self.usage: Usage | None = None

    @abstractmethod
    def take(self, data: bytes) -> bytes:
        """Translate the data of one event; return the events for the client, b"" for none. May raise BadReply."""

    @abstractmethod
    def take_whole(self, body: bytes) -> bytes:
        """Translate a JSON reply; return all events. Raise BadReply if it is not a complete reply."""

    def feed(self, data: bytes) -> bytes:
        try:
            block = self._splitter.feed(data)
        except EventTooLarge:
            message = "one event of the provider's stream is too large"
            raise BadReply(message) from None
        if not block:
            return b""
        out = []
        for event in split_events(block):
            if self.done or self.refusal is not None:
                break
            try:
                out.append(self._read(event))
            except BadReply:
                if not self.content_seen:
                    raise
                # Events before this one, perhaps in the same bytes, still go to the client.
                self.refusal = _UNREADABLE_STREAM
        return self._record(b"".join(out))

    def end(self) -> bytes:
        """A last event that lacks only its blank line counts; half an event does not."""
        rest = self._splitter.rest()
        return self.feed(rest + b"\n\n") if _is_whole(rest) else b""

    def whole(self, body: bytes) -> bytes:
        out = self._record(self.take_whole(body))
        if self.refusal is None:
            self.content_seen = self.finished = self.done = True
        return out

    def sample(self) -> StreamSample:
        return self._sample.value()

    def _read(self, event: bytes) -> bytes:
        payload = event_data(event)
        if payload is not None:
            return self.take(payload)
        text = event.strip()
        if text.startswith(b":"):
            # Relay comments: they keep the client's connection alive, too.
            return event
        # Some servers write a bare JSON error into a failing stream.
        return self.take(text) if text.startswith((b"{", b"[")) else b""

    def _record(self, block: bytes) -> bytes:
        self._sample.add(block, wanted=self.usage is None or not self.finished)
        return block


def _is_whole(event: bytes) -> bool:
    data = event_data(event + b"\n\n")
    try:
        msgspec.json.decode(event if data is None else data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    return True
