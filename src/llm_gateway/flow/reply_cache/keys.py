"""Cache keys: which requests may be answered from the cache, and what makes two requests the same."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import msgspec

from llm_gateway.core.config.snapshot import Route
from llm_gateway.core.model_request import ModelRequest

# Raised with every change to the stored format or to the parts of a key.
_FORMAT = 2
# Fields that change neither the answer nor its form. `model` and `stream` are in the key in parsed form.
_IGNORED_FIELDS = frozenset(
    {
        "model", "stream", "store", "metadata", "safety_identifier", "prompt_cache_key", "prompt_cache_retention",
    }
)  # fmt: skip
# Headers that are sent to the provider but do not change the answer.
_IGNORED_HEADERS = frozenset({"x-request-id", "traceparent", "tracestate", "idempotency-key"})
# Tools that the client executes: a reply that calls them has no side effect.
_CLIENT_TOOLS = frozenset({"function", "custom"})
_FALSE = (None, b"false", b"null")
_NULL = (None, b"null")
# Above this, one float stands for several integers.
_EXACT = 2**53


class _Ambiguous(Exception):
    """Parsers disagree about the meaning of this JSON, so that it has no key."""


def is_stateful(request: ModelRequest) -> bool:
    """Tell whether the reply depends on, or changes, state at the provider; such replies are never cached."""
    fields = request.fields
    if not request.traits.stores_by_default:
        return not _is(fields, "store", _FALSE)
    return not (
        # The Responses API stores a response by default.
        _is(fields, "store", (b"false",))
        and _is(fields, "background", _FALSE)
        and _is(fields, "previous_response_id", _NULL)
        and _is(fields, "conversation", _NULL)
        # A prompt template is stored at the provider, where it may be changed.
        and _is(fields, "prompt", _NULL)
    )


def is_deterministic(request: ModelRequest) -> bool:
    """Tell whether the same request can be expected to have the same answer.

    Embeddings always can. Other requests need a temperature of 0 (the default is 1) or a seed. Requests for
    several choices expect different ones, and tools that the provider runs read changing data.
    """
    if request.traits.is_deterministic:
        return True
    fields = request.fields
    is_fixed = _number(fields.get("temperature")) == 0 or not _is(fields, "seed", _NULL)
    single = _is(fields, "n", _NULL) or _number(fields.get("n")) == 1
    return is_fixed and single and _is(fields, "web_search_options", _NULL) and _has_only_client_tools(fields)


def make_key(
    request: ModelRequest,
    route: Route,
    *,
    credential_id: int | None,
    headers: Mapping[str, str],
    namespace: bytes,
) -> bytes | None:
    """Return a 32-byte key: equal for two requests if and only if one reply may answer both.

    `credential_id` is None where credentials share replies; `headers` are those that are sent to the provider;
    `namespace` (at most 64 bytes) separates databases. None when the body is ambiguous: it repeats a name in
    an object, or has a number that is not JSON.
    """
    try:
        fields = {name: _plain(raw) for name, raw in request.fields.items() if _counts(name, request)}
        parts = [
            _FORMAT, request.endpoint, request.model, request.stream, credential_id, _deployments(route),
            {name: value for name, value in headers.items() if name not in _IGNORED_HEADERS}, fields,
        ]  # fmt: skip
        if request.variant:
            parts.append(request.variant)
        text = json.dumps(parts, sort_keys=True, separators=(",", ":"), allow_nan=False)
    except (_Ambiguous, ValueError, RecursionError):
        return None
    return hashlib.blake2b(text.encode(), key=namespace, digest_size=32).digest()


def _counts(name: str, request: ModelRequest) -> bool:
    # `stream_options` has no effect on a unary request.
    return name not in _IGNORED_FIELDS and (name != "stream_options" or request.stream)


def _deployments(route: Route) -> list[list[str | int | None]]:
    """Return what identifies the deployments. Weights and secrets do not affect the content of an answer."""
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


def _no_number(_name: str) -> Any:  # noqa: ANN401 - the signature that `json` expects
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


def _has_only_client_tools(fields: Mapping[str, msgspec.Raw]) -> bool:
    raw = fields.get("tools")
    if raw is None:
        return True
    try:
        tools = msgspec.json.decode(raw, type=list[_Tool] | None)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    return all(tool.type in _CLIENT_TOOLS for tool in tools or ())
