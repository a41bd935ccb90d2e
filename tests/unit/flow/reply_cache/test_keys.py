"""Which requests may be answered from the cache at all, and which are the same."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from llm_gateway.core.config.catalog import Catalog
from llm_gateway.core.config.snapshot import build_snapshot
from llm_gateway.core.endpoints import EndpointName
from llm_gateway.core.model_request import ModelRequest
from llm_gateway.flow.reply_cache.keys import is_deterministic, is_stateful, make_key
from llm_gateway.providers.registry import KINDS
from tests.fakes.in_memory import provider

FUNCTION = {"type": "function", "function": {"name": "f"}}


def request(
    endpoint: EndpointName = "chat/completions", *, stream: bool = False, **fields: Any
) -> ModelRequest:
    raw = msgspec.json.decode(msgspec.json.encode(fields), type=dict[str, msgspec.Raw])
    return ModelRequest(endpoint=endpoint, model="m", stream=stream, wants_usage=False, fields=raw)


def key(body: bytes, endpoint: EndpointName = "chat/completions", *, stream: bool = False) -> bytes | None:
    route = build_snapshot(Catalog(version=1, providers=(provider("a"),)), KINDS).route("m")
    assert route is not None
    fields = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
    asked = ModelRequest(endpoint=endpoint, model="m", stream=stream, wants_usage=False, fields=fields)
    return make_key(asked, route, credential_id=1, headers={}, namespace=b"")


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, False),
        ({"temperature": 0}, True),
        ({"temperature": 0.0}, True),
        ({"temperature": 1e-9}, False),
        ({"temperature": 1}, False),
        ({"temperature": None}, False),
        ({"temperature": "0"}, False),
        ({"temperature": False}, False),
        ({"seed": 7}, True),
        ({"seed": 0, "temperature": 1}, True),
        ({"seed": None}, False),
        ({"temperature": 0, "n": 1}, True),
        ({"temperature": 0, "n": None}, True),
        ({"temperature": 0, "n": 2}, False),
        ({"temperature": 0, "tools": [FUNCTION]}, True),
        ({"temperature": 0, "tools": [{"type": "custom"}]}, True),
        ({"temperature": 0, "tools": None}, True),
        ({"temperature": 0, "tools": [FUNCTION, {"type": "web_search"}]}, False),
        ({"temperature": 0, "tools": "what"}, False),
        ({"temperature": 0, "web_search_options": {}}, False),
    ],
)
@pytest.mark.parametrize("endpoint", ["chat/completions", "completions", "responses"])
def test_what_may_be_expected_to_give_the_same_answer(
    endpoint: EndpointName, fields: dict[str, Any], expected: bool
) -> None:
    assert is_deterministic(request(endpoint, **fields)) is expected


def test_embeddings_always_give_the_same_answer() -> None:
    assert is_deterministic(request("embeddings", input="x"))


@pytest.mark.parametrize(
    ("endpoint", "fields", "expected"),
    [
        ("chat/completions", {}, False),
        ("chat/completions", {"store": False}, False),
        ("chat/completions", {"store": None}, False),
        ("chat/completions", {"store": True}, True),
        ("completions", {}, False),
        ("embeddings", {}, False),
        ("responses", {}, True),
        ("responses", {"store": None}, True),
        ("responses", {"store": True}, True),
        ("responses", {"store": False}, False),
        ("responses", {"store": False, "previous_response_id": None, "background": False}, False),
        ("responses", {"store": False, "previous_response_id": "resp_1"}, True),
        ("responses", {"store": False, "conversation": "conv_1"}, True),
        ("responses", {"store": False, "background": True}, True),
        ("responses", {"store": False, "prompt": {"id": "pmpt_1"}}, True),
    ],
)
def test_what_leaves_something_with_the_provider_or_builds_on_it(
    endpoint: EndpointName, fields: dict[str, Any], expected: bool
) -> None:
    assert is_stateful(request(endpoint, **fields)) is expected


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (b'{"a":1,"b":2}', b'{ "b" : 2 ,\n"a":1 }'),
        (b'{"temperature":0}', b'{"temperature":0.0}'),
        (b'{"temperature":0}', b'{"temperature":-0.0}'),
        (b'{"max_tokens":100}', b'{"max_tokens":1e2}'),
        (b'{"top_p":0.5}', b'{"top_p":5e-1}'),
        (b'{"x":"A\\u00fc\\/"}', '{"x":"\\u0041ü/"}'.encode()),
        (b'{"x":{"a":[1,{"b":2,"c":3}]}}', b'{"x":{"a":[1.0,{"c":3,"b":2}]}}'),
        (b'{"a":1}', b'{"a":1,"metadata":{"trace":"7"},"store":false,"prompt_cache_key":"k"}'),
        (b'{"a":1}', b'{"a":1,"stream":false,"stream_options":{"include_usage":true},"model":"Proxy/m"}'),
        (b'{"a":1}', b'{"a":1,"safety_identifier":"s","prompt_cache_retention":"24h"}'),
    ],
)
def test_requests_that_are_the_same(one: bytes, other: bytes) -> None:
    assert key(one) == key(other) is not None


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (b'{"a":1}', b'{"a":2}'),
        (b'{"a":1}', b'{"a":true}'),
        (b'{"a":0}', b'{"a":false}'),
        (b'{"a":1}', b'{"a":"1"}'),
        (b'{"a":1}', b'{"b":1}'),
        (b'{"a":null}', b"{}"),
        (b'{"a":[1,2]}', b'{"a":[2,1]}'),
        (b'{"a":[]}', b'{"a":{}}'),
        (b'{"a":" x"}', b'{"a":"x"}'),
        (b'{"a":9007199254740993}', b'{"a":9007199254740992}'),
        (b'{"a":18446744073709551616}', b'{"a":18446744073709551617}'),
        (b'{"user":"one"}', b'{"user":"two"}'),
        (b'{"service_tier":"flex"}', b"{}"),
        # Names of the fields that are left out mean something else further in.
        (b'{"x":{"metadata":1}}', b'{"x":{"metadata":2}}'),
    ],
)
def test_requests_that_are_not_the_same(one: bytes, other: bytes) -> None:
    keys = {key(one), key(other)}
    assert len(keys) == 2
    assert None not in keys


def test_form_and_endpoint_count() -> None:
    body = b'{"a":1,"stream_options":{"include_usage":true}}'
    other = b'{"a":1}'
    keys = {
        key(body, stream=True), key(other, stream=True), key(other),
        key(other, "completions"), key(other, "embeddings"),
    }  # fmt: skip
    assert len(keys) == 5


@pytest.mark.parametrize(
    "body",
    [
        b'{"x":{"a":1,"a":2}}',
        b'{"x":[{"a":{"b":1,"b":1}}]}',
        b'{"x":1e999}',
        b'{"x":' + b"1" * 5000 + b"}",
        b'{"x":' + b"[" * 5000 + b"]" * 5000 + b"}",
    ],
)
def test_a_body_without_one_meaning_has_no_key(body: bytes) -> None:
    try:
        assert key(body) is None
    except RecursionError:
        # The parser refuses it before.
        assert body.count(b"[") > 1000


def test_namespaces_and_credentials_share_no_key() -> None:
    route = build_snapshot(Catalog(version=1, providers=(provider("a"),)), KINDS).route("m")
    assert route is not None
    keys = {
        make_key(request(a=1), route, credential_id=credential_id, headers={}, namespace=namespace)
        for credential_id in (None, 0, 1, 2)
        for namespace in (b"one", b"two")
    }
    assert len(keys) == 8
