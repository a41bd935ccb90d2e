"""Typed parts of the Messages API's replies, events and errors; fields that are unknown or wrong are skipped."""

from __future__ import annotations

import msgspec

from llm_gateway.wire.anthropic_messages.usage import WireUsage
from llm_gateway.wire.lenient import lenient_decoder
from llm_gateway.wire.token_counts import OddObject

UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
NO_ERROR = msgspec.Raw(b"null")


class Block(msgspec.Struct, gc=False):
    """One content block, complete or at its start; fields that its type does not have are None."""

    type: str = ""
    text: str | None = None
    thinking: str | None = None
    signature: str | None = None
    # Of `redacted_thinking`.
    data: str | None = None
    id: str | None = None
    name: str | None = None
    input: msgspec.Raw = msgspec.Raw(b"{}")


class StopDetails(msgspec.Struct, gc=False):
    """`stop_details`: why a model refused."""

    category: str | None = None
    explanation: str | None = None


class Reply(msgspec.Struct, gc=False):
    """A unary reply; `type` is "message", or "error" with an `error`."""

    type: str = ""
    id: str = ""
    model: str = ""
    content: list[Block] | None = None
    stop_reason: str | None = None
    stop_details: StopDetails | None = None
    usage: WireUsage | OddObject = None
    error: msgspec.Raw = NO_ERROR


class Opening(msgspec.Struct, gc=False):
    """`message` of `message_start`."""

    id: str = ""
    model: str = ""
    usage: WireUsage | OddObject = None


class WireDelta(msgspec.Struct, gc=False):
    """`delta` of `content_block_delta` or `message_delta`."""

    type: str | None = None
    text: str | None = None
    thinking: str | None = None
    signature: str | None = None
    partial_json: str | None = None
    stop_reason: str | None = None
    stop_details: StopDetails | None = None


# Some servers number blocks with texts or floats.
BlockIndex = int | float | str | None


class Event(msgspec.Struct, gc=False):
    """One event of a stream."""

    type: str = ""
    message: Opening | None = None
    # Which block; several may be open at once.
    index: BlockIndex = None
    content_block: Block | None = None
    delta: WireDelta | None = None
    usage: WireUsage | OddObject = None
    error: msgspec.Raw = NO_ERROR


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


decode_reply = lenient_decoder(Reply)
decode_event = lenient_decoder(Event)
decode_models = msgspec.json.Decoder(Models).decode
decode_error = msgspec.json.Decoder(ErrorBody).decode
