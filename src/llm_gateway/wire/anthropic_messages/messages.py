"""Typed parts of the Messages API's replies, events and errors; unknown fields are skipped."""

from __future__ import annotations

from typing import Literal

import msgspec

from llm_gateway.core.ledger.usage import Usage

UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
# A larger token count is a provider's error and is discarded.
_MAX_COUNT = 2**40


class Block(msgspec.Struct, gc=False):
    """One content block, complete or at its start; fields that its type does not have are None."""

    type: str
    text: str | None = None
    thinking: str | None = None
    signature: str | None = None
    # Of `redacted_thinking`.
    data: str | None = None
    id: str | None = None
    name: str | None = None
    input: msgspec.Raw = msgspec.Raw(b"{}")


class OutputDetails(msgspec.Struct, gc=False):
    """`output_tokens_details`."""

    thinking_tokens: int | None = None


class WireUsage(msgspec.Struct, gc=False):
    """`usage`; `input_tokens` excludes tokens read from or written to the cache."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_creation_input_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    output_tokens_details: OutputDetails | None = None

    def updated(self, later: WireUsage) -> WireUsage:
        """Return the counts, replaced by those that `later` has; the counts of a stream are cumulative."""
        counts = {
            name: value for name in self.__struct_fields__ if (value := getattr(later, name)) is not None
        }
        return msgspec.structs.replace(self, **counts)


class StopDetails(msgspec.Struct, gc=False):
    """`stop_details`: why a model refused."""

    category: str | None = None
    explanation: str | None = None


class Reply(msgspec.Struct, gc=False):
    """A unary reply."""

    type: Literal["message"]
    id: str
    model: str
    content: list[Block]
    stop_reason: str | None = None
    stop_details: StopDetails | None = None
    usage: WireUsage | None = None


class Opening(msgspec.Struct, gc=False):
    """`message` of `message_start`."""

    id: str = ""
    model: str = ""
    usage: WireUsage | None = None


class WireDelta(msgspec.Struct, gc=False):
    """`delta` of `content_block_delta` or `message_delta`."""

    type: str | None = None
    text: str | None = None
    thinking: str | None = None
    signature: str | None = None
    partial_json: str | None = None
    stop_reason: str | None = None
    stop_details: StopDetails | None = None


class Event(msgspec.Struct, gc=False):
    """One event of a stream."""

    type: str
    message: Opening | None = None
    index: int = 0
    content_block: Block | None = None
    delta: WireDelta | None = None
    usage: WireUsage | None = None


class Kind(msgspec.Struct, gc=False):
    """Only an event's type, for events that do not fit Event."""

    type: str


class ErrorDetails(msgspec.Struct, gc=False):
    """`error.details`."""

    error_code: str | None = None


class WireError(msgspec.Struct, gc=False):
    """`error`."""

    type: str = ""
    message: str | None = None
    details: ErrorDetails | None = None


class ErrorBody(msgspec.Struct, gc=False):
    """An error body or the data of an `error` event."""

    error: WireError


class ListedModel(msgspec.Struct, gc=False):
    """One entry of `GET /models`."""

    id: str


class Models(msgspec.Struct, gc=False):
    """The reply to `GET /models`."""

    data: list[ListedModel]


decode_reply = msgspec.json.Decoder(Reply).decode
decode_event = msgspec.json.Decoder(Event).decode
decode_kind = msgspec.json.Decoder(Kind).decode
decode_models = msgspec.json.Decoder(Models).decode
decode_error = msgspec.json.Decoder(ErrorBody).decode


def usage_from_wire(wire: WireUsage | None) -> Usage | None:
    """Return the usage, with cached tokens as part of the prompt; None if counts are missing or implausible."""
    if wire is None or wire.output_tokens is None:
        return None
    cached = wire.cache_read_input_tokens or 0
    prompt = (wire.input_tokens or 0) + (wire.cache_creation_input_tokens or 0) + cached
    completion = wire.output_tokens
    if not (0 <= prompt <= _MAX_COUNT and 0 <= completion <= _MAX_COUNT):
        return None
    details = wire.output_tokens_details
    reasoning = (details.thinking_tokens or 0) if details is not None else 0
    return Usage(
        prompt_tokens=prompt,
        completion_tokens=completion,
        total_tokens=prompt + completion,
        cached_tokens=min(max(cached, 0), prompt),
        reasoning_tokens=min(max(reasoning, 0), completion),
    )
