"""Anthropic's recordings, and a provider that answers from them; the official SDK's types judge what is in them."""

from __future__ import annotations

import json
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pydantic
import typing_extensions
from anthropic.types.message_create_params import MessageCreateParamsNonStreaming

from llm_gateway.core.config.deployments import Deployment
from llm_gateway.core.model_request import ModelRequest
from llm_gateway.core.secret import Secret
from tests.fakes.replay_server import Answered, Asked

FOLDER = Path(__file__).parents[1] / "wire" / "anthropic"
SECRET = "sk-ant-api03-a-secret"
# The newer API version, and so the SDK's types, have them no more.
SAMPLING = frozenset({"temperature", "top_p", "top_k"})


class Recording(NamedTuple):
    """What a client asks us, what we ask the provider, and its answer, whole and streamed."""

    name: str
    client: dict[str, Any]
    request: dict[str, Any]
    # None where there is only a stream, one that broke off.
    response: bytes | None
    stream: bytes

    @property
    def events(self) -> list[bytes]:
        """Return the stream cut into its events."""
        return [part + b"\n\n" for part in self.stream.split(b"\n\n") if part]


def recording(name: str) -> Recording:
    """Return the recording of this name."""
    folder = FOLDER / name
    response = folder / "response.json"
    return Recording(
        name,
        json.loads((folder / "client.json").read_text()),
        json.loads((folder / "request.json").read_text()),
        response.read_bytes() if response.exists() else None,
        (folder / "stream.sse").read_bytes(),
    )


RECORDINGS = tuple(recording(path.parent.name) for path in sorted(FOLDER.glob("*/client.json")))
WHOLE = tuple(one for one in RECORDINGS if one.response is not None)
ERRORS = tuple(sorted((FOLDER / "errors").glob("*.json")))


def chat(
    body: Mapping[str, Any], *, endpoint: Any = "chat/completions", wants_usage: bool = True
) -> ModelRequest:
    """Return a client's body as the gateway reads it."""
    return ModelRequest(
        endpoint=endpoint,
        model="m",
        stream=bool(body.get("stream")),
        wants_usage=wants_usage,
        fields={name: msgspec.Raw(msgspec.json.encode(value)) for name, value in body.items()},
        created=1_700_000_000,
    )


def deployment(model: str, **fields: Any) -> Deployment:
    """Return a deployment of an upstream model at Anthropic's."""
    given: dict[str, Any] = {"secret": Secret(SECRET), "base_url": "https://api.anthropic.com/v1"} | fields
    return Deployment(
        provider_id=1,
        provider_key="a",
        kind="anthropic",
        upstream_model=model,
        weight=1,
        stream_usage=True,
        **given,
    )


def play(asked: Asked) -> Answered:
    """Answer as Anthropic did when it was asked the same."""
    if (
        not ({"x-api-key", "authorization"} & asked.headers.keys())
        or "anthropic-version" not in asked.headers
    ):
        return _error("401_authentication")
    if asked.path.startswith("/v1/models"):
        return Answered(200, [(FOLDER / "models.json").read_bytes()])
    body = asked.json
    streamed = body.pop("stream", False)
    for one in RECORDINGS:
        if one.request == body:
            if streamed:
                return Answered(200, one.events, "text/event-stream; charset=utf-8")
            assert one.response is not None
            return Answered(200, [one.response])
    return _error("400_prompt_too_long" if "too long" in str(body["messages"]) else "400_invalid_request")


def _error(name: str) -> Answered:
    return Answered(int(name[:3]), [(FOLDER / "errors" / f"{name}.json").read_bytes()])


def request_faults(body: Mapping[str, Any]) -> list[str]:
    """Return what the SDK's types do not allow in a request, field by field; unknown fields are faults."""
    judged = {name: value for name, value in body.items() if name not in SAMPLING | {"stream"}}
    return _faults(judged, MessageCreateParamsNonStreaming, "$")


def invented(value: object, path: str = "$") -> list[str]:
    """Return the fields of a reply that the SDK's models do not know."""
    found: list[str] = []
    if isinstance(value, pydantic.BaseModel):
        found += [f"{path}.{name}" for name in value.model_extra or {}]
        for name in type(value).model_fields:
            found += invented(getattr(value, name), f"{path}.{name}")
    elif isinstance(value, list):
        for index, one in enumerate(value):
            found += invented(one, f"{path}[{index}]")
    return found


def _faults(value: Any, wanted: Any, path: str) -> list[str]:
    """Judge a value by a type; pydantic judges iterables lazily and passes over keys it does not know."""
    origin = typing.get_origin(wanted)
    if wanted in {Any, object}:
        return []
    if origin in {typing.Union, types.UnionType}:
        return _union_faults(value, typing.get_args(wanted), path)
    if origin is typing.Literal:
        return [] if value in typing.get_args(wanted) else [f"{path}: {value!r}"]
    if typing_extensions.is_typeddict(wanted):
        return _table_faults(value, wanted, path)
    if origin is dict:
        return [] if isinstance(value, dict) else [f"{path}: no object"]
    if origin is not None:
        return _list_faults(value, typing.get_args(wanted)[0], path)
    return [] if type(value) is wanted or (wanted is float and type(value) is int) else [f"{path}: {value!r}"]


def _list_faults(value: Any, wanted: Any, path: str) -> list[str]:
    if not isinstance(value, list):
        return [f"{path}: no list"]
    return [fault for index, one in enumerate(value) for fault in _faults(one, wanted, f"{path}[{index}]")]


def _union_faults(value: Any, choices: tuple[Any, ...], path: str) -> list[str]:
    judged = [_faults(value, one, path) for one in choices]
    return min(judged, key=len) if all(judged) else []


def _table_faults(value: Any, wanted: Any, path: str) -> list[str]:
    if not isinstance(value, dict):
        return [f"{path}: no object"]
    fields = typing_extensions.get_type_hints(wanted, include_extras=False)
    found = [f"{path}.{name}: missing" for name in wanted.__required_keys__ if name not in value]
    open_to_all = getattr(wanted, "__pydantic_config__", {}).get("extra") == "allow"
    for name, one in value.items():
        if name in fields:
            found += _faults(one, fields[name], f"{path}.{name}")
        elif not open_to_all:
            found.append(f"{path}.{name}: unknown")
    return found
