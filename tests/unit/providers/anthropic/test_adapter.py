"""URLs, headers and model lists of the Anthropic adapter."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

from llm_gateway.core.config.deployments import EnabledProvider
from llm_gateway.core.config.providers import ClientCredentials, Provider
from llm_gateway.core.secret import Secret
from llm_gateway.providers.anthropic.adapter import AnthropicAdapter
from llm_gateway.providers.anthropic.kind import ANTHROPIC
from llm_gateway.providers.anthropic.streaming import AnthropicStream
from llm_gateway.providers.base import UpstreamErrorBody
from llm_gateway.providers.lazy import OnFirstUse
from llm_gateway.providers.registry import ADAPTERS, KINDS
from llm_gateway.wire.errors import BadReply
from tests.fakes.anthropic_replies import ASKED, message
from tests.fakes.anthropic_requests import ADAPTER, USER
from tests.fakes.anthropic_wire import FOLDER, SECRET, chat, deployment

NEW, OLD = "2026-10-21", "2023-06-01"


def test_the_registry_has_the_adapter() -> None:
    known = ADAPTERS["anthropic"]
    assert isinstance(known, OnFirstUse)
    assert isinstance(known.adapter, AnthropicAdapter)
    assert KINDS["anthropic"].default_api_base == "https://api.anthropic.com/v1"
    assert KINDS["anthropic"].endpoints == ("chat/completions", "completions")


def test_the_key_is_sent_as_x_api_key() -> None:
    made = ADAPTER.encode(chat({"messages": [USER]}), deployment("claude-opus-5"), {"x-request-id": "r1"})
    assert made.headers == {
        "user-agent": "llm-gateway",
        "accept-encoding": "identity",
        "anthropic-version": NEW,
        "x-api-key": SECRET,
        "content-type": "application/json",
        "accept": "application/json",
        "x-request-id": "r1",
    }
    streamed = ADAPTER.encode(chat({"messages": [USER], "stream": True}), deployment("claude-opus-5"), {})
    assert streamed.headers["accept"] == "text/event-stream"


def test_an_access_token_is_sent_as_a_bearer_token() -> None:
    grant = ClientCredentials(token_url="https://id.example/token", client_id="me")
    made = ADAPTER.encode(chat({"messages": [USER]}), deployment("claude-opus-5", oauth2=grant), {})
    assert made.headers["authorization"] == f"Bearer {SECRET}"
    assert "x-api-key" not in made.headers


def test_without_a_secret_no_credentials_are_sent() -> None:
    made = ADAPTER.encode(chat({"messages": [USER]}), deployment("claude-opus-5", secret=None), {})
    assert not {"x-api-key", "authorization"} & made.headers.keys()


def test_requests_go_to_messages_below_the_base_url() -> None:
    target = deployment("claude-opus-5", base_url="https://proxy.example/anthropic/v1")
    made = ADAPTER.encode(chat({"messages": [USER]}), target, {})
    assert (made.method, made.url) == ("POST", "https://proxy.example/anthropic/v1/messages")


def test_the_model_list_is_requested_with_the_same_headers() -> None:
    account = Provider(
        id=1, provider_key="a", provider_type="anthropic", api_base="https://api.anthropic.com",
        secret=Secret(SECRET),
    )  # fmt: skip
    made = ADAPTER.models_request(EnabledProvider(account, ANTHROPIC))
    assert (made.method, made.url) == ("GET", "https://api.anthropic.com/v1/models?limit=1000")
    assert made.headers["x-api-key"] == SECRET
    assert made.headers["anthropic-version"] == NEW


def test_the_model_list_uses_the_pinned_version_and_the_token() -> None:
    grant = ClientCredentials(token_url="https://id.example/token", client_id="me")
    account = Provider(
        id=1, provider_key="a", provider_type="anthropic", api_base="https://proxy.example/v1",
        secret=Secret(SECRET), api_version=OLD, oauth2=grant,
    )  # fmt: skip
    made = ADAPTER.models_request(EnabledProvider(account, ANTHROPIC))
    assert made.headers["anthropic-version"] == OLD
    assert made.headers["authorization"] == f"Bearer {SECRET}"
    assert "x-api-key" not in made.headers


def test_the_ids_of_a_model_list_are_read() -> None:
    body = (FOLDER / "models.json").read_bytes()
    assert ADAPTER.decode_models(body) == [model["id"] for model in json.loads(body)["data"]]


@pytest.mark.parametrize("body", [b"", b"[]", b'{"data": [{}]}', Path(__file__).read_bytes()])
def test_an_unreadable_model_list_is_a_bad_reply(body: bytes) -> None:
    with pytest.raises(BadReply):
        ADAPTER.decode_models(body)


def test_replies_errors_and_streams_are_translated() -> None:
    done = ADAPTER.decode(message({"type": "text", "text": "Hello"}), ASKED)
    assert json.loads(done.body)["choices"][0]["message"]["content"] == "Hello"
    body = b'{"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}'
    assert ADAPTER.decode_error(body) == UpstreamErrorBody(
        message="Overloaded", type="server_error", code="overloaded"
    )
    assert isinstance(ADAPTER.stream(ASKED, event_limit=1), AnthropicStream)


def test_the_event_limit_reaches_the_stream() -> None:
    with pytest.raises(BadReply):
        ADAPTER.stream(ASKED, event_limit=10).feed(b"data: 0123456789")


def test_another_kind_may_use_the_adapter() -> None:
    kind = msgspec.structs.replace(ANTHROPIC, name="compatible")
    assert AnthropicAdapter(kind).kind.name == "compatible"
