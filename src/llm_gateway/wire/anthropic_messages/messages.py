"""The parts of the Messages API's JSON that the gateway reads, typed leniently."""

from __future__ import annotations

from typing import Literal

import msgspec

from llm_gateway.core.ledger.usage import Usage

UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
# More tokens than this nobody used: such a count is not believed.
_MOST = 2**40


class Block(msgspec.Struct, gc=False):
    """One content block, whole or as it starts; what a type does not have is None."""

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
    """`usage`: `input_tokens` are those that no cache was read or written for."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_creation_input_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    output_tokens_details: OutputDetails | None = None

    def updated(self, later: WireUsage) -> WireUsage:
        """Return this with whatever `later` says: a stream's counts are totals, each time."""
        said = {name: value for name in self.__struct_fields__ if (value := getattr(later, name)) is not None}
        return msgspec.structs.replace(self, **said)


class StopDetails(msgspec.Struct, gc=False):
    """Why a model would not answer."""

    category: str | None = None
    explanation: str | None = None


class Reply(msgspec.Struct, gc=False):
    """A whole message."""

    type: Literal["message"]
    id: str
    model: str
    content: list[Block]
    stop_reason: str | None = None
    stop_details: StopDetails | None = None
    usage: WireUsage | None = None


class Opening(msgspec.Struct, gc=False):
    """The message as `message_start` has it."""

    id: str = ""
    model: str = ""
    usage: WireUsage | None = None


class WireDelta(msgspec.Struct, gc=False):
    """The next piece of a block, or of the message itself."""

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
    """An event's type alone."""

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
    """An error, as a body or as an event."""

    error: WireError


class ListedModel(msgspec.Struct, gc=False):
    """One entry of `GET /models`."""

    id: str


class Models(msgspec.Struct, gc=False):
    """The answer to `GET /models`."""

    data: list[ListedModel]


decode_reply = msgspec.json.Decoder(Reply).decode
decode_event = msgspec.json.Decoder(Event).decode
decode_kind = msgspec.json.Decoder(Kind).decode
decode_models = msgspec.json.Decoder(Models).decode
decode_error = msgspec.json.Decoder(ErrorBody).decode


def usage_from_wire(wire: WireUsage | None) -> Usage | None:
    """Return the usage, cached tokens among the prompt's; None when there is no count that can be trusted."""
    if wire is None or wire.output_tokens is None:
        return None
    cached = wire.cache_read_input_tokens or 0
    prompt = (wire.input_tokens or 0) + (wire.cache_creation_input_tokens or 0) + cached
    completion = wire.output_tokens
    if not (0 <= prompt <= _MOST and 0 <= completion <= _MOST):
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
