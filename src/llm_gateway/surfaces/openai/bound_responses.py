"""The Responses API with response ids that are bound to the credential; see `response_ids`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress

import msgspec

from llm_gateway.core.config.deployments import Deployment
from llm_gateway.core.errors import BadRequest, GatewayError, Unauthenticated
from llm_gateway.core.model_request import BoundRequest, ModelRequest
from llm_gateway.core.sse import event_data, split_events
from llm_gateway.flow.gateway import Gateway
from llm_gateway.flow.ports.dialect import Attribution, IncomingCall, ReplyFacts, StreamEncoder
from llm_gateway.flow.request.admission import credential_id_of
from llm_gateway.providers.base import StreamTail
from llm_gateway.surfaces.openai.dialect import ResponsesDialect
from llm_gateway.surfaces.openai.fields import is_given, wrong_type
from llm_gateway.surfaces.openai.parsing import parse_response
from llm_gateway.surfaces.openai.response_ids import ResponseIds

_PREVIOUS = "previous_response_id"
# Only events with one of these can hold the id of a response: in JSON strings quotes are escaped.
_CARRIERS = (b'"response"', b'"response_id"')
# An id in a reply that is not valid JSON for a strict parser, as OpenAI's ids look.
_LIKELY_ID = re.compile(rb'"(?:id|response_id)"\s*:\s*("resp_[^"\\]{1,500}")')
# So many different ones are bound. A reply has one of its own; each costs a hash.
_MOST_LIKELY_IDS = 8
_ID_FIELD = re.compile(rb'"(?:id|response_id|previous_response_id)"\s*:\s*("(?:[^"\\]++|\\.)*+")', re.DOTALL)


class _Named(msgspec.Struct, gc=False):
    id: msgspec.Raw = msgspec.Raw(b"null")


class _Event(msgspec.Struct, gc=False):
    response: _Named | None = None
    response_id: msgspec.Raw = msgspec.Raw(b"null")


_decode_named = msgspec.json.Decoder(_Named).decode
_decode_event = msgspec.json.Decoder(_Event).decode
_encode = msgspec.json.Encoder().encode


class BoundResponses(ResponsesDialect):
    """The dialect of the route: opens the ids in requests, and gives each call a dialect that binds its ids."""

    def __init__(self, gateway: Gateway) -> None:
        super().__init__(parse_response)
        self._gateway = gateway
        self._ids = ResponseIds(gateway.hasher)

    def read(self, body: bytes, call: IncomingCall) -> tuple[ModelRequest, Attribution]:
        """Parse a request; raise BadRequest when it refers to something that is not the credential's own."""
        request, attribution = super().read(body, call)
        fields = request.fields
        if is_given(fields, "conversation"):
            message = (
                "'conversation' is not available: it is stored in the provider's account, and the gateway cannot "
                "tell whose it is. Use 'previous_response_id', or send the conversation in 'input'. (The gateway's "
                "operator can allow it with RESPONSE_IDS=shared.)"
            )
            raise BadRequest(message, param="conversation", code="conversation_not_supported")
        credential_id = credential_id_of(self._gateway, call.api_key)
        if credential_id is None:
            # Deleted or disabled while the body arrived.
            raise Unauthenticated("Incorrect API key provided: it is no longer valid.")
        opened: tuple[bytes, bytes] | None = None
        if is_given(fields, _PREVIOUS):
            sent = _text(fields[_PREVIOUS])
            found = self._ids.open(sent, credential_id)
            if found is None:
                raise unknown_response(sent)
            own = _encode(found[0])
            opened = own, bytes(fields[_PREVIOUS])
            fields[_PREVIOUS] = msgspec.Raw(own)
            request = BoundRequest(**msgspec.structs.asdict(request), provider_id=found[1])
        is_stored = bytes(fields.get("store", b"true")) != b"false"
        call.dialect = _BoundDialect(self._ids, credential_id, opened, is_stored=is_stored)
        return request, attribution


def unknown_response(response_id: str) -> BadRequest:
    """Return OpenAI's error for a `previous_response_id` that does not exist."""
    message = (
        f"Previous response with id '{response_id[:200]}' not found. Only ids that the gateway returned to this API "
        "key's owner are valid; send the whole conversation in 'input' instead."
    )
    return BadRequest(message, param=_PREVIOUS, code="previous_response_not_found")


class _BoundDialect(ResponsesDialect):
    """The dialect of one request."""

    def __init__(
        self,
        ids: ResponseIds,
        credential_id: int,
        opened: tuple[bytes, bytes] | None,
        *,
        is_stored: bool = True,
    ) -> None:
        """`opened`: the JSON of the provider's own `previous_response_id`, and of the client's."""
        super().__init__(parse_response)
        self._ids = ids
        self._credential_id = credential_id
        self._opened = opened
        self._is_stored = is_stored

    # A method here; the class it extends has no encoder.
    def encode_reply(self, request: ModelRequest, body: bytes, facts: ReplyFacts) -> bytes:  # type: ignore[override]
        """Bind the ids of a whole response; no provider has stored a cached one."""
        del request
        try:
            ids: tuple[msgspec.Raw | bytes, ...] = (_decode_named(body).id,)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            ids = _likely_ids(body)
        return self.bind(body, ids, facts.deployment)

    def open_stream(self, request: ModelRequest, deployment: Deployment | None) -> StreamEncoder:  # type: ignore[override]
        del request
        return _BoundStream(self, deployment)

    def bind(self, data: bytes, ids: tuple[msgspec.Raw | bytes, ...], deployment: Deployment | None) -> bytes:
        """Replace `ids`, and the previous response's, in `data`; all other bytes stay."""
        # No provider has it, so that a cached reply has the same id as the first one.
        provider_id = 0 if deployment is None or not self._is_stored else deployment.provider_id
        replaced = {} if self._opened is None else dict([self._opened])
        for raw in ids:
            token = bytes(raw)
            # Not every JSON string is text: one may hold half of a surrogate pair.
            with suppress(msgspec.DecodeError, UnicodeDecodeError):
                own = msgspec.json.decode(token, type=str)
                replaced.setdefault(token, _encode(self._ids.bind(own, self._credential_id, provider_id)))
        return b"".join(_with_replaced(data, replaced))


class _BoundStream(StreamEncoder):
    """Binds the ids in a stream: an event without any costs two searches."""

    def __init__(self, dialect: _BoundDialect, deployment: Deployment | None) -> None:
        self._dialect = dialect
        self._deployment = deployment

    def feed(self, events: bytes) -> bytes:
        if _CARRIERS[0] not in events and _CARRIERS[1] not in events:
            return events
        return b"".join(map(self._bound, split_events(events)))

    def end(self, facts: ReplyFacts) -> bytes:
        del facts
        return b""

    def fail(self, error: GatewayError, tail: StreamTail, facts: ReplyFacts) -> bytes:
        del facts
        return self.feed(self._dialect.stream_error(error, tail))

    def _bound(self, event: bytes) -> bytes:
        data = event_data(event)
        if data is None or not (_CARRIERS[0] in data or _CARRIERS[1] in data):
            return event
        ids: tuple[msgspec.Raw | bytes, ...]
        try:
            decoded = _decode_event(data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            ids = _likely_ids(data)
        else:
            named = decoded.response
            ids = (decoded.response_id,) if named is None else (named.id, decoded.response_id)
        return self._dialect.bind(event, ids, self._deployment)


def _text(raw: msgspec.Raw) -> str:
    try:
        return msgspec.json.decode(raw, type=str)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise wrong_type(_PREVIOUS, "a string", raw) from None


def _likely_ids(data: bytes) -> tuple[bytes, ...]:
    found: set[bytes] = set()
    for likely in _LIKELY_ID.finditer(data):
        found.add(likely[1])
        if len(found) == _MOST_LIKELY_IDS:
            break
    return tuple(found)


def _with_replaced(data: bytes, replaced: dict[bytes, bytes]) -> Iterator[bytes]:
    """Yield the parts of `data`, with each old value of an id's field replaced by the new one."""
    copied = 0
    for field in _ID_FIELD.finditer(data):
        new = replaced.get(field[1])
        if new is not None:
            yield data[copied : field.start(1)]
            yield new
            copied = field.end(1)
    yield data[copied:]
