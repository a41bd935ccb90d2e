"""Azure's URLs, key header and streams."""

from __future__ import annotations

from pathlib import Path

import pytest

from llm_gateway.core.config.providers import ClientCredentials
from llm_gateway.core.endpoints import EndpointName
from llm_gateway.core.errors import BadRequest
from llm_gateway.core.secret import Secret
from llm_gateway.providers.registry import ADAPTERS
from tests.fakes.openai_requests import body, enabled_provider, encoded, model_request

WIRE = Path(__file__).parents[3] / "wire"


RESOURCE = "https://res.openai.azure.com"


ENTRA = ClientCredentials(
    token_url="https://login.microsoftonline.com/t/oauth2/v2.0/token",
    client_id="c",
    scope="https://cognitiveservices.azure.com/.default",
)


@pytest.mark.parametrize(
    "api_base",
    [
        RESOURCE,
        f"{RESOURCE}/",
        f"{RESOURCE}/openai",
        f"{RESOURCE}/openai/v1",
        f"{RESOURCE}/openai/v1/",
        f"{RESOURCE}/openai/deployments/other",
    ],
)
def test_without_api_version_requests_go_to_v1(api_base: str) -> None:
    sent = encoded("azure", model_request(), "my-gpt", api_base=api_base, secret=Secret("key"))
    assert sent.url == f"{RESOURCE}/openai/v1/chat/completions"
    assert body(sent)["model"] == "my-gpt"
    assert sent.headers["api-key"] == "key"
    assert "authorization" not in sent.headers


@pytest.mark.parametrize("endpoint", ["chat/completions", "completions", "embeddings"])
def test_with_api_version_the_path_names_the_deployment(endpoint: EndpointName) -> None:
    provider = {"api_base": RESOURCE, "api_version": "2024-10-21"}
    sent = encoded("azure", model_request(endpoint), "my gpt/4", **provider)
    assert sent.url == f"{RESOURCE}/openai/deployments/my%20gpt%2F4/{endpoint}?api-version=2024-10-21"
    responses = encoded("azure", model_request("responses"), "my gpt/4", **provider)
    assert responses.url == f"{RESOURCE}/openai/responses?api-version=2024-10-21"


@pytest.mark.parametrize("model", [".", ".."])
def test_a_model_name_cannot_change_the_path(model: str) -> None:
    with pytest.raises(BadRequest) as raised:
        encoded("azure", model_request(), model, api_base=RESOURCE, api_version="2024-10-21")
    assert raised.value.param == "model"


def test_v1_gets_no_api_version() -> None:
    provider = {"api_base": f"{RESOURCE}/openai/v1", "api_version": "preview"}
    assert encoded("azure", model_request(), **provider).url == f"{RESOURCE}/openai/v1/chat/completions"
    assert (
        ADAPTERS["azure"].models_request(enabled_provider("azure", **provider)).url
        == f"{RESOURCE}/openai/v1/models"
    )


def test_a_proxy_may_have_its_own_path() -> None:
    base = "https://apim.example/team"
    assert encoded("azure", model_request(), api_base=base).url == f"{base}/openai/v1/chat/completions"
    base = "https://apim.example/openai-proxy"
    assert encoded("azure", model_request(), api_base=base).url == f"{base}/openai/v1/chat/completions"


def test_models_are_listed_at_the_surface_that_api_version_selects() -> None:
    adapter = ADAPTERS["azure"]
    plain = adapter.models_request(enabled_provider("azure", api_base=RESOURCE, secret=Secret("key")))
    assert (plain.url, plain.headers["api-key"]) == (f"{RESOURCE}/openai/v1/models", "key")
    dated = adapter.models_request(enabled_provider("azure", api_base=RESOURCE, api_version="2024-10-21"))
    assert dated.url == f"{RESOURCE}/openai/models?api-version=2024-10-21"


def test_an_entra_id_token_is_sent_as_a_bearer_token() -> None:
    sent = encoded("azure", model_request(), api_base=RESOURCE, secret=Secret("token"), oauth2=ENTRA)
    assert sent.headers["authorization"] == "Bearer token"
    assert "api-key" not in sent.headers
    listed = ADAPTERS["azure"].models_request(
        enabled_provider("azure", api_base=RESOURCE, secret=Secret("token"), oauth2=ENTRA)
    )
    assert listed.headers["authorization"] == "Bearer token"


def test_the_prompt_filter_chunk_is_not_content() -> None:
    events = (WIRE / "azure/prompt-filter-first.sse").read_bytes().split(b"\n\n")
    reader = ADAPTERS["azure"].stream(model_request(stream=True), event_limit=1 << 20)
    seen = []
    for event in events[:-1]:
        reader.feed(event + b"\n\n")
        seen.append(reader.content_seen)
    assert seen == [False, False, True, True, True, True, True]
    assert reader.usage is not None
    assert reader.usage.total_tokens == 29
