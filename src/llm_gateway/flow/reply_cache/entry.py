"""Whole replies as they are kept, and which of them are worth it."""

from __future__ import annotations

import msgspec

from llm_gateway.core.endpoints import Endpoint
from llm_gateway.core.ledger.records import UsageRecord
from llm_gateway.core.ledger.usage import Usage
from llm_gateway.core.sse import event_data, split_events

# Ends that are the provider's doing rather than the answer's, and may come out otherwise next time.
_NO_ENDS = frozenset({"content_filter", "error"})


class CachedReply(msgspec.Struct, frozen=True, kw_only=True, array_like=True, gc=False):
    """One reply, byte for byte as its client got it, and what its usage row said. `kept_at` in Unix microseconds."""

    body: bytes
    status: int
    # What the reply itself added to the response's head.
    headers: tuple[tuple[bytes, bytes], ...]
    usage: Usage | None
    provider: str
    upstream_model: str
    kept_at: int


# Of the reply's head, what is true of the first request alone.
_OF_ITS_REQUEST = frozenset({b"x-llm-gateway-attempts"})
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(CachedReply).decode


def to_bytes(reply: CachedReply) -> bytes:
    """Return the reply for a ReplyCache."""
    return _encode(reply)


def from_bytes(value: bytes) -> CachedReply | None:
    """Return the reply that `to_bytes` was given; None when these bytes are anything else."""
    try:
        return _decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def kept_reply(
    body: bytes, headers: tuple[tuple[bytes, bytes], ...], record: UsageRecord, now: int
) -> CachedReply:
    """Return the reply that `record` tells of, to be kept at `now` (Unix microseconds)."""
    usage = None
    if record.usage_source is not None:
        usage = Usage(
            prompt_tokens=record.prompt_tokens or 0,
            completion_tokens=record.completion_tokens or 0,
            total_tokens=record.total_tokens or 0,
            cached_tokens=record.cached_tokens or 0,
            reasoning_tokens=record.reasoning_tokens or 0,
            source=record.usage_source,
        )
    return CachedReply(
        body=body,
        status=record.status_code,
        headers=tuple(header for header in headers if header[0] not in _OF_ITS_REQUEST),
        usage=usage,
        provider=record.provider or "",
        upstream_model=record.upstream_model or "",
        kept_at=now,
    )


class _End(msgspec.Struct, gc=False):
    finish_reason: str | None = None


class _State(msgspec.Struct, gc=False):
    status: str | None = None


class _Piece(msgspec.Struct, gc=False):
    """What is looked at of a reply, or of a stream's event."""

    choices: list[_End] | None = None
    error: msgspec.Raw = msgspec.Raw(b"null")
    # The Responses API: a response's own, and that of an event that holds one.
    status: str | None = None
    response: _State | None = None


_decode_piece = msgspec.json.Decoder(_Piece).decode


def is_worth_keeping(endpoint: Endpoint, body: bytes, *, stream: bool) -> bool:
    """Tell whether a reply that ended well is an answer that the next client may have as well.

    It is not when a filter or a fault ended a choice, when it holds an error, or when a response was not
    completed.
    """
    try:
        pieces = [_decode_piece(data) for data in (_events(body) if stream else [body])]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    ends = [end.finish_reason for piece in pieces for end in piece.choices or ()]
    if any(bytes(piece.error) != b"null" for piece in pieces) or not _NO_ENDS.isdisjoint(ends):
        return False
    if not endpoint.has_status:
        return True
    states = [piece.response.status if piece.response else piece.status for piece in pieces]
    return "completed" in states


def _events(body: bytes) -> list[bytes]:
    found = [event_data(event) for event in split_events(body)]
    return [data for data in found if data is not None and data.strip() != b"[DONE]"]
