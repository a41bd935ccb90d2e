"""Adds the cost of a request to the usage that its stream reports, for clients that ask for it."""

from __future__ import annotations

import msgspec

from llm_gateway.core.errors import GatewayError
from llm_gateway.core.money import usd_text
from llm_gateway.core.sse import event_data, split_events
from llm_gateway.flow.ports.dialect import Dialect, ReplyFacts, StreamEncoder
from llm_gateway.providers.base import StreamTail

# In a JSON string quotes are escaped: an event without it reports no usage.
_USAGE = b'"usage"'
_ABSENT = msgspec.Raw(b"null")


class _Response(msgspec.Struct, gc=False):
    usage: msgspec.Raw = _ABSENT


class _Event(msgspec.Struct, gc=False):
    """Where an event of the canonical forms reports usage; `response` is that of the Responses API."""

    usage: msgspec.Raw = _ABSENT
    response: _Response | None = None


_decode = msgspec.json.Decoder(_Event).decode


class UsageCostEncoder(StreamEncoder):
    """Holds back the last event with a usage until the cost is known, and all else not at all.

    It works on canonical events, before the dialect's own encoder. The event says as well if the cost is not known.
    """

    __slots__ = ("_dialect", "_encoder", "_held")

    def __init__(self, dialect: Dialect, encoder: StreamEncoder | None) -> None:
        self._dialect = dialect
        self._encoder = encoder
        self._held = b""

    def feed(self, events: bytes) -> bytes:
        if _USAGE not in events:
            out, self._held = self._held + events, b""
        else:
            out = self._without_last_usage(events)
        return out if self._encoder is None or not out else self._encoder.feed(out)

    def end(self, facts: ReplyFacts) -> bytes:
        encoder, last = self._encoder, self._with_cost(facts.cost_nano_usd)
        if encoder is None:
            return last + self._dialect.stream_end
        return (encoder.feed(last) if last else last) + encoder.end(facts)

    def fail(self, error: GatewayError, tail: StreamTail, facts: ReplyFacts) -> bytes:
        encoder, last = self._encoder, self._with_cost(facts.cost_nano_usd)
        if encoder is None:
            return last + self._dialect.stream_error(error, tail)
        return (encoder.feed(last) if last else last) + encoder.fail(error, tail, facts)

    def _without_last_usage(self, events: bytes) -> bytes:
        out = [self._held]
        self._held = b""
        for event in split_events(events):
            if self._held:
                out.append(self._held)
                self._held = b""
            if _usage_in(event_data(event)) is not None:
                self._held = event
            else:
                out.append(event)
        return b"".join(out)

    def _with_cost(self, cost_nano_usd: int | None) -> bytes:
        """Return the event that was held back, with the cost behind the other fields of its usage."""
        event, self._held = self._held, b""
        data = event_data(event) if event else None
        usage = _usage_in(data)
        if data is None or usage is None:
            return event
        cost = msgspec.json.encode(None if cost_nano_usd is None else usd_text(cost_nano_usd))
        body = usage[:-1].rstrip()
        separator = b"" if body == b"{" else b","
        before, _, after = data.rpartition(usage)
        priced = b'%b%b%b"cost_usd":%b}%b' % (before, body, separator, cost, after)
        # An event with its data in several lines is written in one.
        return event.replace(data, priced) if data in event else b"data: " + priced + b"\n\n"


def _usage_in(data: bytes | None) -> bytes | None:
    """Return the JSON of the usage that an event reports; None if it reports none."""
    if data is None:
        return None
    try:
        event = _decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    usage = bytes(event.usage)
    if event.response is not None and not usage.startswith(b"{"):
        usage = bytes(event.response.usage)
    return usage if usage.startswith(b"{") else None
