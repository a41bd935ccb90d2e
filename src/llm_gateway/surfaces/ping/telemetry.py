"""POST /telemetry: events that clients report. They are kept as they come, and nothing is billed by them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final, NamedTuple

import msgspec

from llm_gateway.core.config.accounts import Principal
from llm_gateway.core.errors import BadRequest, GatewayError
from llm_gateway.core.ledger.records import UsageRecord
from llm_gateway.core.ledger.telemetry import (
    MOST_ATTRIBUTE_BYTES,
    MOST_ATTRIBUTE_DEPTH,
    TelemetryEvent,
    are_bounded,
)
from llm_gateway.core.model_request import ModelRequest
from llm_gateway.core.times import iso_milliseconds
from llm_gateway.flow.ports.dialect import Attribution
from llm_gateway.flow.ports.limits import Demand, Limit, Verdict
from llm_gateway.flow.request.admission import admit_unmetered
from llm_gateway.http.model_routes.data_plane import Handler
from llm_gateway.http.model_routes.request_context import RequestContext
from llm_gateway.http.model_routes.responding import send_json
from llm_gateway.http.types import Receive, Scope, Send
from llm_gateway.surfaces.base import SurfaceServices
from llm_gateway.surfaces.ping.callers import subject_of
from llm_gateway.surfaces.ping.dialect import PingDialect
from llm_gateway.surfaces.ping.paths import TELEMETRY_PATH
from llm_gateway.surfaces.ping.requests import checked_name
from llm_gateway.surfaces.ping.small_bodies import read_small_body
from llm_gateway.surfaces.translating.bodies import MISSING_FIELD, read_body

_MOST_BYTES: Final = 32 * 1024
_MOST_ATTRIBUTES: Final = 64
# Larger than any size or latency, and exact in every language.
_LARGEST: Final = 2**53 - 1
_HIGHEST_STATUS: Final = 999


class EventOrigin(NamedTuple):
    """What the gateway knows of an event by itself."""

    event_id: str
    created_at: int
    credential: str
    user: str | None
    address: str | None


class _Event(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    event_type: str
    request_id: str | None = None
    client_ip: str | None = None
    metadata: dict[str, msgspec.Raw] = {}


class _Metadata(msgspec.Struct, gc=False):
    """The members that the documentation of S1 names, apart from `client_id`, which is kept with the others."""

    soeid: str | None = None
    project_name: str | None = None
    target_service: str | None = None
    endpoint: str | None = None
    method: str | None = None
    status_code: int | None = None
    latency_ms: float | None = None
    request_size: int | None = None
    response_size: int | None = None


EVENT_FIELDS: Final = _Event.__struct_fields__
METADATA_FIELDS: Final = ("client_id", *_Metadata.__struct_fields__)
_events: Final = msgspec.json.Decoder(_Event)
_known: Final = frozenset(_Metadata.__struct_fields__)
_metadata: Final = msgspec.json.Decoder(_Metadata)
_anything: Final = msgspec.json.Decoder()
_encode: Final = msgspec.json.Encoder().encode


def telemetry_handler(services: SurfaceServices, dialect: PingDialect, limit: Limit) -> Handler:
    """Return the handler; `limit` holds for the events of each caller. The answer has the event's id."""
    plane, events = services.plane, services.events

    async def handler(scope: Scope, receive: Receive, send: Send, request_id: str) -> None:
        context = RequestContext(scope, dialect, plane.proxies)
        _, account = admit_unmetered(plane.gateway, context.api_key)
        user = subject_of(context.api_key)
        now = plane.gateway.clock.unix_us()
        origin = EventOrigin(request_id, now, account.credential.name, user, context.client_ip)
        event = await read_small_body(
            plane, scope, receive, context, _MOST_BYTES, lambda body: read_event(body, origin)
        )
        await _count(limit, account, event)
        events.event(event)
        answer = {"id": event.event_id, "status": "logged", "timestamp": iso_milliseconds(now)}
        await send_json(send, _encode(answer), request_id)

    return handler


async def _count(limit: Limit, account: Principal, event: TelemetryEvent) -> None:
    """Raise GatewayError if the caller reports too many events."""
    request = ModelRequest("chat/completions", "", False, False, {})
    answer = limit.reserve(
        account, Demand(request, event.created_at, attribution=Attribution(user=event.end_user))
    )
    verdict = answer if isinstance(answer, Verdict) else await answer
    record = UsageRecord(event.event_id, event.created_at, TELEMETRY_PATH, "POST", False, 200, "ok")
    verdict.reservation.settle(record)


def read_event(body: bytes, origin: EventOrigin) -> TelemetryEvent:
    """Return the event; raise BadRequest that names the field."""
    sent = read_body(body, _events, EVENT_FIELDS)
    event_type = checked_name("event_type", sent.event_type)
    if event_type is None:
        message = "The field 'event_type' is empty. Say what sort of event it is."
        raise BadRequest(message, param="event_type", code=MISSING_FIELD)
    known = _below(
        "metadata",
        lambda: read_body(
            _encode({name: raw for name, raw in sent.metadata.items() if name in _known}),
            _metadata,
            METADATA_FIELDS,
        ),
    )
    return TelemetryEvent(
        event_type=event_type,
        request_id=checked_name("request_id", sent.request_id),
        client_ip=checked_name("client_ip", sent.client_ip),
        soeid=checked_name("metadata.soeid", known.soeid),
        project=checked_name("metadata.project_name", known.project_name),
        target_service=checked_name("metadata.target_service", known.target_service),
        endpoint=checked_name("metadata.endpoint", known.endpoint),
        method=checked_name("metadata.method", known.method),
        status_code=_whole("status_code", known.status_code, _HIGHEST_STATUS),
        latency_ms=_latency(known.latency_ms),
        request_bytes=_whole("request_size", known.request_size, _LARGEST),
        response_bytes=_whole("response_size", known.response_size, _LARGEST),
        attributes=_attributes(sent.metadata),
        event_id=origin.event_id,
        created_at=origin.created_at,
        credential=origin.credential,
        end_user=origin.user,
        source_ip=origin.address,
    )


def _below(prefix: str, read: Callable[[], _Metadata]) -> _Metadata:
    """Return what `read` returns; faults name their place below `prefix`."""
    try:
        return read()
    except BadRequest as error:
        place = f"{prefix}.{error.param}" if error.param else prefix
        message = error.message.replace(f"'{error.param}'", f"'{place}'")
        raise BadRequest(message, param=place, code=error.code) from None


def _whole(name: str, value: int | None, most: int) -> int | None:
    if value is not None and not 0 <= value <= most:
        raise _out_of_range(name, most)
    return value


def _latency(value: float | None) -> float | None:
    if value is not None and not (math.isfinite(value) and 0 <= value <= _LARGEST):
        raise _out_of_range("latency_ms", _LARGEST)
    return value


def _out_of_range(name: str, most: int) -> GatewayError:
    place = f"metadata.{name}"
    return BadRequest(f"The field '{place}' must be 0 to {most}.", param=place)


def _attributes(metadata: dict[str, msgspec.Raw]) -> dict[str, Any] | None:
    """Return all members that have no column."""
    others = {name: raw for name, raw in metadata.items() if name not in _known}
    if not others:
        return None
    if len(others) > _MOST_ATTRIBUTES:
        message = f"'metadata' has more than {_MOST_ATTRIBUTES} members of your own; leave some out."
        raise BadRequest(message, param="metadata")
    try:
        decoded = {name: _anything.decode(raw) for name, raw in others.items()}
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        decoded = None
    if decoded is None or not are_bounded(decoded):
        message = (
            f"The members of 'metadata' that are your own must have at most {MOST_ATTRIBUTE_BYTES} bytes, and at "
            f"most {MOST_ATTRIBUTE_DEPTH} levels."
        )
        raise BadRequest(message, param="metadata")
    return decoded
