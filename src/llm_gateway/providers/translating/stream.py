"""The reader of a stream in another dialect: cuts it into events, keeps what was relayed, minds the end."""

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

_NONSENSE = UpstreamErrorBody(
    message="The provider's stream made no sense any more.", type="upstream_error", code="upstream_error"
)


class TranslatedStream(ABC):
    """Implements ReplyStream; a dialect says in `take` and `take_whole` what its events and its JSON mean.

    `take` sets `content_seen` with the first content, `finished` with the finish reason, `done` once the
    dialect's own last event has come; both set `usage` and `refusal` when they learn of them.
    """

    tail = NO_TAIL

    def __init__(self, request: ModelRequest, *, event_limit: int) -> None:
        """Read the answer to `request`; one event may have `event_limit` bytes."""
        self.writer = ReplyWriter(request)
        self._splitter = EventSplitter(event_limit)
        self._kept = StreamSampler()
        self.content_seen = False
        self.done = False
        self.finished = False
        self.refusal: UpstreamErrorBody | None = None
        self.usage: Usage | None = None

    @abstractmethod
    def take(self, data: bytes) -> bytes:
        """Take the data of one event; return the events for the client, b"" for none. May raise BadReply."""

    @abstractmethod
    def take_whole(self, body: bytes) -> bytes:
        """Take JSON in place of a stream; return all events. Raise BadReply for what is no whole answer."""

    def feed(self, data: bytes) -> bytes:
        """Take bytes from the provider; return whole events for the client."""
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
                # What came before it, perhaps in the same bytes, is still the client's.
                self.refusal = _NONSENSE
        return self._keep(b"".join(out))

    def end(self) -> bytes:
        """Take the provider's clean end: a last event without its blank line still counts, half of one does not."""
        rest = self._splitter.rest()
        return self.feed(rest + b"\n\n") if _is_whole(rest) else b""

    def whole(self, body: bytes) -> bytes:
        """Take JSON that answered the streamed request; return its events."""
        out = self._keep(self.take_whole(body))
        if self.refusal is None:
            self.content_seen = self.finished = self.done = True
        return out

    def kept(self) -> StreamSample:
        """Return what was relayed, for counting."""
        return self._kept.value()

    def _read(self, event: bytes) -> bytes:
        payload = event_data(event)
        if payload is not None:
            return self.take(payload)
        text = event.strip()
        if text.startswith(b":"):
            # A comment keeps the client's connection warm as it did ours.
            return event
        # Some servers put a bare JSON error into a stream that broke.
        return self.take(text) if text.startswith((b"{", b"[")) else b""

    def _keep(self, block: bytes) -> bytes:
        self._kept.add(block, wanted=self.usage is None or not self.finished)
        return block


def _is_whole(event: bytes) -> bool:
    data = event_data(event + b"\n\n")
    try:
        msgspec.json.decode(event if data is None else data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    return True
