"""Which requests may be answered from kept replies, and what two of them must have in common: the key."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import msgspec

from llm_gateway.core.config.snapshot import Route
from llm_gateway.core.model_request import ModelRequest

# Goes up with every change to what is kept or to what a key is made of.
_FORMAT = 2
# Fields that change neither the answer nor its form. `model` and `stream` are in the key as they were judged.
_LEFT_OUT = frozenset(
    {
        "model", "stream", "store", "metadata", "safety_identifier", "prompt_cache_key", "prompt_cache_retention",
    }
)  # fmt: skip
# Headers that go to the provider and change no answer.
_HEADERS_LEFT_OUT = frozenset({"x-request-id", "traceparent", "tracestate", "idempotency-key"})
# Tools that the client runs itself: asking for them does nothing yet.
_OWN_TOOLS = frozenset({"function", "custom"})
_FALSE = (None, b"false", b"null")
_NULL = (None, b"null")
# Beyond it a float stands for several integers.
_EXACT = 2**53


class _Ambiguous(Exception):
    """The JSON means different things to different readers, so that no key can stand for it."""


def is_stateful(request: ModelRequest) -> bool:
    """Tell whether a reply depends on, or changes, what the provider remembers: such a one is never kept."""
    fields = request.fields
    if not request.traits.stores_by_default:
        return not _is(fields, "store", _FALSE)
    return not (
        # Responses are stored unless one says otherwise.
        _is(fields, "store", (b"false",))
        and _is(fields, "background", _FALSE)
        and _is(fields, "previous_response_id", _NULL)
        and _is(fields, "conversation", _NULL)
        # A template that is kept, and may be changed, at the provider's.
        and _is(fields, "prompt", _NULL)
    )


def is_deterministic(request: ModelRequest) -> bool:
    """Tell whether the same request may be expected to give the same answer, so that one is as good as another.

    An embedding always is. Everything else has to say so: by a temperature of 0 or by a seed. (The default
    temperature is 1.) Several choices are asked for to differ, and a provider's own tools look at the world.
    """
    if request.traits.is_deterministic:
        return True
    fields = request.fields
    settled = _number(fields.get("temperature")) == 0 or not _is(fields, "seed", _NULL)
    single = _is(fields, "n", _NULL) or _number(fields.get("n")) == 1
    return settled and single and _is(fields, "web_search_options", _NULL) and _tools_are_own(fields)


def make_key(
    request: ModelRequest,
    route: Route,
    *,
    credential_id: int | None,
    headers: Mapping[str, str],
    namespace: bytes,
) -> bytes | None:
    """Return 32 bytes that requests share when, and only when, the same reply answers them all.

    `credential_id` is None for what all credentials share; `headers` are those that go to the provider;
    `namespace` (64 bytes at most) sets one database's keys apart from another's. None when the body has no
    one meaning: a name twice in an object, or a number that is none.
    """
    try:
        fields = {name: _plain(raw) for name, raw in request.fields.items() if _counts(name, request)}
        parts = [
            _FORMAT, request.endpoint, request.model, request.stream, credential_id, _deployments(route),
            {name: value for name, value in headers.items() if name not in _HEADERS_LEFT_OUT}, fields,
        ]  # fmt: skip
        text = json.dumps(parts, sort_keys=True, separators=(",", ":"), allow_nan=False)
    except (_Ambiguous, ValueError, RecursionError):
        return None
    return hashlib.blake2b(text.encode(), key=namespace, digest_size=32).digest()


def _counts(name: str, request: ModelRequest) -> bool:
    # What a stream is to hold besides its content matters to streams alone.
    return name not in _LEFT_OUT and (name != "stream_options" or request.stream)


def _deployments(route: Route) -> list[list[str | int | None]]:
    """Return what may answer. Neither weights nor secrets count: they change who answers, not what."""
    return sorted(
        [one.provider_id, one.kind, one.base_url, one.api_version or "", one.upstream_model]
        for one in route.deployments
    )


def _plain(raw: msgspec.Raw) -> Any:  # noqa: ANN401 - any JSON
    return json.loads(
        bytes(raw).decode(), object_pairs_hook=_object, parse_float=_float, parse_constant=_no_number
    )


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _Ambiguous
    return found


def _float(text: str) -> float | int:
    value = float(text)
    return int(value) if value.is_integer() and abs(value) < _EXACT else value


def _no_number(_name: str) -> Any:  # noqa: ANN401 - as json wants it
    raise _Ambiguous


def _is(fields: Mapping[str, msgspec.Raw], name: str, values: tuple[bytes | None, ...]) -> bool:
    raw = fields.get(name)
    return (None if raw is None else bytes(raw)) in values


def _number(raw: msgspec.Raw | None) -> float | None:
    try:
        return None if raw is None else msgspec.json.decode(raw, type=float)
    except msgspec.DecodeError:
        return None


class _Tool(msgspec.Struct, gc=False):
    type: str = "function"


def _tools_are_own(fields: Mapping[str, msgspec.Raw]) -> bool:
    raw = fields.get("tools")
    if raw is None:
        return True
    try:
        tools = msgspec.json.decode(raw, type=list[_Tool] | None)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    return all(tool.type in _OWN_TOOLS for tool in tools or ())
