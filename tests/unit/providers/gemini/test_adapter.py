"""Requests to Gemini: URL, method, headers, credentials; and its list of models."""

from __future__ import annotations

from typing import Any

import pytest

from llm_gateway.core.config.deployments import EnabledProvider
from llm_gateway.core.config.providers import ClientCredentials, Provider
from llm_gateway.core.errors import BadRequest
from llm_gateway.core.secret import Secret
from llm_gateway.providers.base import UpstreamRequest
from llm_gateway.providers.gemini.adapter import GeminiAdapter
from llm_gateway.providers.gemini.kind import GEMINI
from llm_gateway.providers.lazy import OnFirstUse
from llm_gateway.providers.registry import ADAPTERS
from llm_gateway.wire.errors import BadReply
from tests.fakes.gemini_wire import KEY, deployment, request, unary

ADAPTER = GeminiAdapter(GEMINI)


def encode(model: str = "gemini-2.5-flash", **fields: Any) -> UpstreamRequest:
    return ADAPTER.encode(request(**fields), deployment(model), {"x-request-id": "1"})


def test_the_registry_knows_gemini() -> None:
    known = ADAPTERS["gemini"]
    assert isinstance(known, OnFirstUse)
    assert isinstance(known.adapter, GeminiAdapter)
    assert GEMINI.default_api_base == "https://generativelanguage.googleapis.com/v1beta"


@pytest.mark.parametrize(
    ("model", "path"),
    [
        ("gemini-2.5-flash", "models/gemini-2.5-flash"),
        ("models/gemini-2.5-flash", "models/gemini-2.5-flash"),
        ("tunedModels/mine", "tunedModels/mine"),
        ("../secrets?x", "models/..%2Fsecrets%3Fx"),
        ("gemini:countTokens", "models/gemini%3AcountTokens"),
    ],
)
def test_the_model_is_in_the_path_and_the_key_in_a_header(model: str, path: str) -> None:
    sent = encode(model)
    assert sent.url == f"https://generativelanguage.googleapis.com/v1beta/{path}:generateContent"
    assert sent.headers["x-goog-api-key"] == KEY
    assert "authorization" not in sent.headers
    assert KEY.encode() not in sent.body
    assert sent.headers["x-request-id"] == "1"


def test_a_stream_calls_another_method() -> None:
    sent = encode(stream=True)
    assert sent.url.endswith("/models/gemini-2.5-flash:streamGenerateContent?alt=sse")
    assert sent.headers["accept"] == "text/event-stream"


def test_a_model_name_cannot_leave_its_path() -> None:
    with pytest.raises(BadRequest) as caught:
        encode("models/../files")
    assert caught.value.param == "model"


def test_an_access_token_is_sent_as_a_bearer_token() -> None:
    grant = ClientCredentials(token_url="https://id.example/token", client_id="me")
    sent = ADAPTER.encode(request(), deployment(oauth2=grant), {})
    assert sent.headers["authorization"] == f"Bearer {KEY}"
    assert "x-goog-api-key" not in sent.headers


def test_the_request_for_the_list_of_models() -> None:
    provider = Provider(
        id=1,
        provider_key="google",
        provider_type="gemini",
        api_base="https://generativelanguage.googleapis.com",
        secret=Secret(KEY),
    )
    asked = ADAPTER.models_request(EnabledProvider(provider, GEMINI))
    assert asked.method == "GET"
    assert asked.url == "https://generativelanguage.googleapis.com/v1beta/models?pageSize=1000"
    assert asked.headers["x-goog-api-key"] == KEY


def test_only_models_that_generate_content_are_listed() -> None:
    assert ADAPTER.decode_models(unary("models")) == ["gemini-2.5-flash", "gemini-3-flash-preview"]
    assert ADAPTER.decode_models(b"{}") == []
    with pytest.raises(BadReply):
        ADAPTER.decode_models(b"[]")
