"""Cached replies: their format, and which replies may be cached."""

from __future__ import annotations

import msgspec

from llm_gateway.core.endpoints import Endpoint
from llm_gateway.core.ledger.records import UsageRecord
from llm_gateway.core.ledger.usage import Usage
from llm_gateway.core.sse import event_data, split_events

# Finish reasons that may differ for the same request: the next attempt may end well.
_UNCACHEABLE_ENDS = frozenset({"content_filter", "error"})


class CachedReply(msgspec.Struct, frozen=True, kw_only=True, array_like=True, gc=False):
    """A reply in its canonical form, and its usage. `stored_at` is in Unix microseconds.

    The usage has no details: they are what a price depends on, and no provider is paid for a cached reply.
    """

    body: bytes
    status: int
    # Response headers that belong to this reply; the server adds its own.
    headers: tuple[tuple[bytes, bytes], ...]
    usage: Usage | None
    provider: str
    upstream_model: str
    stored_at: int


# Headers that apply only to the original request.
_REQUEST_HEADERS = frozenset({b"x-llm-gateway-attempts"})
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(CachedReply).decode


def to_bytes(reply: CachedReply) -> bytes:
    return _encode(reply)


def from_bytes(value: bytes) -> CachedReply | None:
    """Decode what `to_bytes` returned; None for any other bytes."""
    try:
        return _decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def make_cached_reply(
    body: bytes, headers: tuple[tuple[bytes, bytes], ...], record: UsageRecord, now: int
) -> CachedReply:
    """Return the reply that `record` describes; `now` is in Unix microseconds."""
    usage = None
    if record.usage_source is not None:
        usage = Usage(
            prompt_tokens=record.prompt_tokens or 0,
            completion_tokens=record.completion_tokens or 0,
            total_tokens=record.total_tokens or 0,
            cached_tokens=record.cached_tokens or 0,
            reasoning_tokens=record.reasoning_tokens or 0,
            source=record.usage_source,
            cache_write_tokens=record.cache_write_tokens or 0,
        )
    return CachedReply(
        body=body,
        status=record.status_code,
        headers=tuple(header for header in headers if header[0] not in _REQUEST_HEADERS),
        usage=usage,
        provider=record.provider or "",
        upstream_model=record.upstream_model or "",
        stored_at=now,
    )


class _Choice(msgspec.Struct, gc=False):
    finish_reason: str | None = None


class _Response(msgspec.Struct, gc=False):
    status: str | None = None


class _Content(msgspec.Struct, gc=False):
    """The fields of a whole reply, or of one stream event, that decide whether it may be cached."""

    choices: list[_Choice] | None = None
    error: msgspec.Raw = msgspec.Raw(b"null")
    # The Responses API: of a whole response, and of a stream event that contains one.
    status: str | None = None
    response: _Response | None = None


_decode_content = msgspec.json.Decoder(_Content).decode


def is_cacheable(endpoint: Endpoint, body: bytes, *, stream: bool) -> bool:
    """Tell whether a complete reply may answer other requests.

    It may not when a content filter or an error ended a choice, when it contains an error, or when it is a
    response (Responses API) that did not complete.
    """
    try:
        pieces = [_decode_content(data) for data in (_events(body) if stream else [body])]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    ends = [choice.finish_reason for piece in pieces for choice in piece.choices or ()]
    if any(bytes(piece.error) != b"null" for piece in pieces) or not _UNCACHEABLE_ENDS.isdisjoint(ends):
        return False
    if not endpoint.has_status:
        return True
    states = [piece.response.status if piece.response else piece.status for piece in pieces]
    return "completed" in states


def _events(body: bytes) -> list[bytes]:
    found = [event_data(event) for event in split_events(body)]
    return [data for data in found if data is not None and data.strip() != b"[DONE]"]
