"""Whole replies of chats, completions and embeddings: whether one is an answer, and its usage."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from decimal import Decimal
from itertools import islice
from typing import Annotated, Any, Final

import msgspec

from llm_gateway.core.endpoints import EndpointName
from llm_gateway.core.ledger.usage import StatedUsage, Usage
from llm_gateway.core.model_request import ModelRequest
from llm_gateway.core.sse import event_data, split_events
from llm_gateway.providers.base import Completion, UpstreamErrorBody
from llm_gateway.providers.openai.chunks import expected_choices
from llm_gateway.providers.openai.event_stream import OpenAIReplyStream
from llm_gateway.providers.openai.failures import error_in, failed_choice
from llm_gateway.wire.errors import BadReply
from llm_gateway.wire.loose_json import read_json, write_json
from llm_gateway.wire.openai_chat.finish_reasons import FinishReason, ending_reason
from llm_gateway.wire.openai_chat.reply_forms import as_whole, has_delta
from llm_gateway.wire.openai_chat.usage import BilledUsage, WireUsage, usage_from_wire
from llm_gateway.wire.stated_costs import CostReader
from llm_gateway.wire.token_counts import OddCount, OddObject

STREAM_STARTS = (b"data:", b"event:", b"id:", b"retry:")
_PRELUDE = re.compile(rb"(?:\xef\xbb\xbf|\s++|:[^\r\n]*+)*+")
# Bytes. No server sends more before an answer.
_LONGEST_PRELUDE = 1024 * 1024
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
# To join more would keep the event loop busy for seconds.
_LONGEST_STREAM = 8 * 1024 * 1024
_NO_ANSWER = "the provider's reply has no answer"


class _Object(msgspec.Struct, gc=False):
    pass


class _ChatChoice(msgspec.Struct, gc=False):
    message: _Object
    finish_reason: FinishReason


class _TextChoice(msgspec.Struct, gc=False):
    text: str
    finish_reason: FinishReason


class _Chat(msgspec.Struct, gc=False):
    choices: Annotated[list[_ChatChoice], msgspec.Meta(min_length=1)]
    usage: WireUsage | OddObject = None
    service_tier: OddCount = None


class _Text(msgspec.Struct, gc=False):
    choices: Annotated[list[_TextChoice], msgspec.Meta(min_length=1)]
    usage: WireUsage | OddObject = None
    service_tier: OddCount = None


class _OfUsage(msgspec.Struct, gc=False):
    usage: BilledUsage | OddObject = None
    service_tier: OddCount = None


class _Vector(msgspec.Struct, gc=False):
    embedding: msgspec.Raw


class _Vectors(msgspec.Struct, gc=False):
    data: Annotated[list[_Vector], msgspec.Meta(min_length=1)]
    usage: WireUsage | OddObject = None
    service_tier: OddCount = None


class _BilledChat(_Chat, gc=False):
    usage: BilledUsage | OddObject = None


class _BilledText(_Text, gc=False):
    usage: BilledUsage | OddObject = None


class _BilledVectors(_Vectors, gc=False):
    usage: BilledUsage | OddObject = None


_decode_vectors = msgspec.json.Decoder(_Vectors).decode
_decode_billed_vectors = msgspec.json.Decoder(_BilledVectors, float_hook=Decimal).decode
# Bytes of `null`, `[]`, `""`, `{}` and `[0]`: no vector.
_LONGEST_EMPTY: Final = 4


def _decode_embeddings(body: bytes) -> _Vectors:
    return _checked(_decode_vectors(body))


def _decode_billed_embeddings(body: bytes) -> _Vectors:
    return _checked(_decode_billed_vectors(body))


def _checked(vectors: _Vectors) -> _Vectors:
    if any(len(one.embedding) <= _LONGEST_EMPTY for one in vectors.data):
        raise msgspec.ValidationError(_NO_ANSWER)
    return vectors


# The bytes of an answer pass unchanged, so no more is decoded than tells that it is one.
_DECODERS: Final[Mapping[EndpointName, Callable[[bytes], _Chat | _Text | _Vectors]]] = {
    "chat/completions": msgspec.json.Decoder(_Chat).decode,
    "completions": msgspec.json.Decoder(_Text).decode,
    "embeddings": _decode_embeddings,
}
# Those of providers that state costs.
_BILLED_DECODERS: Final[Mapping[EndpointName, Callable[[bytes], _Chat | _Text | _Vectors]]] = {
    "chat/completions": msgspec.json.Decoder(_BilledChat, float_hook=Decimal).decode,
    "completions": msgspec.json.Decoder(_BilledText, float_hook=Decimal).decode,
    "embeddings": _decode_billed_embeddings,
}


def read_reply(body: bytes, request: ModelRequest, read_cost: CostReader | None = None) -> Completion:
    """Return the reply, its bytes as they are, or why it is a failure; raise BadReply if it is no answer.

    An answer in the form of an event stream is joined to a whole reply. `read_cost` reads what the provider states
    that the request cost.
    """
    decoders = _DECODERS if read_cost is None else _BILLED_DECODERS
    try:
        reply = decoders[request.endpoint](body)
    except _UNREADABLE:
        return _read_unusual(body, request, read_cost)
    tier = reply.service_tier
    if tier is None and read_cost is None:
        return Completion(body, usage_from_wire(reply.usage))
    return Completion(body, usage_from_wire(reply.usage, tier, read_cost, request.fields))


def _read_unusual(body: bytes, request: ModelRequest, read_cost: CostReader | None) -> Completion:
    text = without_prelude(body)
    if not text.startswith(STREAM_STARTS):
        return _read_object(text, request, read_cost)
    said = (event_data(event) for event in split_events(text))
    begun = list(islice((data for data in said if data and data.strip() not in {b"", b"[DONE]"}), 2))
    if len(begun) == 1 or request.endpoint == "embeddings":
        return _read_object(b"".join(begun), request, read_cost)
    return _read_stream(text, request, read_cost)


def without_prelude(body: bytes) -> bytes:
    """Return a body without what some servers send while a client waits: blank lines and comments."""
    found = _PRELUDE.match(body, 0, _LONGEST_PRELUDE)
    return body if found is None else body[found.end() :]


def refusal_of(value: object, request: ModelRequest) -> UpstreamErrorBody | None:
    """Return why a decoded reply is a failure, None for an answer; raise BadReply if it is neither."""
    if not isinstance(value, dict):
        message = "the provider's reply is not a JSON object"
        raise BadReply(message)
    if request.endpoint == "embeddings":
        is_answer = _has_vectors(value, request)
    else:
        if (failure := failed_choice(value)) is not None:
            return failure
        is_answer = _has_answer(value.get("choices"), "message" if request.traits.is_chat else "text")
    if is_answer:
        return None
    refusal = error_in(value)
    if refusal is None:
        raise BadReply(_NO_ANSWER)
    return refusal


def _read_object(body: bytes, request: ModelRequest, read_cost: CostReader | None) -> Completion:
    value = read_json(body)
    if request.traits.is_chat and has_delta(value):
        value = as_whole([value], is_chat=True)
        body = write_json(value)
    return Completion(body, _usage_of(value, request, read_cost), refusal_of(value, request))


def _read_stream(text: bytes, request: ModelRequest, read_cost: CostReader | None) -> Completion:
    if len(text) > _LONGEST_STREAM:
        message = "the provider answered with an event stream that is too long to be joined"
        raise BadReply(message)
    reader = OpenAIReplyStream(
        choices=expected_choices(request),
        hide_usage=False,
        event_limit=max(len(text), 1),
        read_cost=read_cost,
        asked=request.fields,
    )
    events = reader.feed(text) + reader.end()
    if reader.refusal is not None:
        return Completion(text, None, reader.refusal)
    if not (reader.done or reader.finished):
        message = "the provider's event stream ended before its answer did"
        raise BadReply(message)
    chunks = [read_json(data) for event in split_events(events) if (data := event_data(event)) is not None]
    try:
        whole = as_whole((one for one in chunks if isinstance(one, dict)), is_chat=request.traits.is_chat)
        return Completion(write_json(whole), reader.usage, refusal_of(whole, request))
    except RecursionError:
        raise BadReply(_NO_ANSWER) from None


def _has_answer(choices: object, part: str) -> bool:
    return isinstance(choices, list) and any(
        isinstance(choice, dict) and _is_answer(choice, part) for choice in choices
    )


def _is_answer(choice: dict[str, Any], part: str) -> bool:
    """Tell whether a choice is one that a client can read: it says something, or ends with a reason."""
    content, reason = choice.get(part), ending_reason(choice.get("finish_reason"))
    if reason == "content_filter":
        # Azure may leave the message out.
        return True
    if isinstance(content, str):
        return part == "text" and (content != "" or reason is not None)
    if not isinstance(content, dict):
        return False
    return reason is not None or any(value for name, value in content.items() if name != "role")


def _has_vectors(value: dict[str, Any], request: ModelRequest) -> bool:
    data = value.get("data")
    if not isinstance(data, list):
        return False
    if not data:
        return bytes(request.fields.get("input", b"")) == b"[]"
    # Some servers return several vectors of a text, under names of their own.
    return all(
        isinstance(one, dict) and any(field for name, field in one.items() if name.startswith("embedding"))
        for one in data
    )


def _usage_of(
    value: object, request: ModelRequest, read_cost: CostReader | None
) -> Usage | StatedUsage | None:
    try:
        found = msgspec.convert(value, _OfUsage)
        return usage_from_wire(found.usage, found.service_tier, read_cost, request.fields)
    except msgspec.ValidationError:
        return None
