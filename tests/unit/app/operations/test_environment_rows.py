"""The rows that variables stand for: families of S3, services of S0, the two endpoints of S1."""

from __future__ import annotations

from typing import Any

import pytest

from llm_gateway.app.operations.environment_rows import environment_contents, unused_addresses
from llm_gateway.core.config.providers import ClientCredentials
from llm_gateway.flow.config.files.contents import FileContents
from llm_gateway.flow.config.rows.models import ModelUpdate
from llm_gateway.flow.config.rows.providers import ProviderUpdate
from llm_gateway.infra.startup_error import StartupError
from llm_gateway.providers.registry import KINDS
from llm_gateway.settings.first_start import FirstStartSettings
from llm_gateway.settings.reading import setting_names
from tests.fakes.given_settings import given_settings


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*setting_names(FirstStartSettings), "default_model"):
        monkeypatch.delenv(name.upper(), raising=False)


def contents(**values: Any) -> FileContents:
    return environment_contents(given_settings(**values), KINDS)


def providers(**values: Any) -> dict[str, dict[str, Any]]:
    found = {}
    for update in contents(**values).updates:
        if isinstance(update, ProviderUpdate):
            fields = update.given()
            if "secret" in fields:
                fields["secret"] = fields["secret"].reveal()
            found[str(fields.pop("provider_key"))] = fields
    return found


def models(**values: Any) -> list[dict[str, Any]]:
    return [update.given() for update in contents(**values).updates if isinstance(update, ModelUpdate)]


def test_s3_14_each_key_makes_a_provider() -> None:
    keys = {f"{name}_api_key": f"sk-{name}" for name in ("openai", "gemini", "mistral", "claude")}
    found = providers(**keys)
    assert {name: (fields["provider_type"], fields["secret"]) for name, fields in found.items()} == {
        "openai": ("openai", "env:OPENAI_API_KEY"),
        "gemini": ("gemini", "env:GEMINI_API_KEY"),
        "mistral": ("mistral", "env:MISTRAL_API_KEY"),
        "claude": ("anthropic", "env:CLAUDE_API_KEY"),
    }
    for name, fields in found.items():
        # The family's name is a model, and its other models are served by their own.
        mapping = fields["model_mapping"]
        assert mapping[name] != "*"
        assert set(list(mapping.values())[1:]) == {"*"}
        assert "api_base" not in fields
    assert "sk-" not in repr(found)


def test_s2_15_deepseek_and_addresses() -> None:
    found = providers(deepseek_api_key="x", deepseek_base_url="http://proxy.example/v1")
    assert found["deepseek"]["api_base"] == "http://proxy.example/v1"
    settings = given_settings(openai_base_url="http://x", gemini_base_url="http://y", gemini_api_key="z")
    assert unused_addresses(settings) == ["OPENAI_BASE_URL"]


def test_s0_26_services_serve_every_model() -> None:
    services = '{"llm": "http://llm:8080", "ollama": "http://gpu:9000", "openai": "http://proxy:1"}'
    assert providers(downstream_services=services) == {
        "llm": {"provider_type": "openai", "api_base": "http://llm:8080", "model_mapping": {}},
        "ollama": {"provider_type": "ollama", "api_base": "http://gpu:9000", "model_mapping": {}},
        "openai": {"provider_type": "openai", "api_base": "http://proxy:1", "model_mapping": {}},
    }


def test_a_service_may_be_the_address_of_a_key() -> None:
    services = '{"openai": "http://proxy:1"}'
    found = providers(downstream_services=services, openai_api_key="k")
    assert found["openai"]["api_base"] == "http://proxy:1"
    assert found["openai"]["secret"] == "env:OPENAI_API_KEY"
    assert "openai" in found["openai"]["model_mapping"]
    both = providers(downstream_services=services, openai_api_key="k", openai_base_url="http://own")
    assert both["openai"]["api_base"] == "http://own"


PRIMARY = {"api_endpoint": "http://one", "default_model": "gemini", "model": "gemini-pro"}
TOKENS = {"coin_url": "http://coin", "client_id": "me", "client_secret": "hush", "scope": "all"}


def test_s1_14_s1_15_the_primary_asks_for_tokens() -> None:
    assert providers(**PRIMARY, **TOKENS) == {
        "primary": {
            "provider_type": "openai",
            "api_base": "http://one",
            "secret": "env:CLIENT_SECRET",
            "oauth2": ClientCredentials(token_url="http://coin", client_id="me", scope="all"),
            "model_mapping": {"gemini": "gemini-pro", "gemini-pro": "gemini-pro"},
        }
    }
    assert models(**PRIMARY, **TOKENS) == []


def test_s1_16_the_secondary_is_the_fallback() -> None:
    found = providers(**PRIMARY, surl="http://two", skey="k", smodel="small")
    assert list(found) == ["primary", "secondary"]
    assert found["secondary"] == {
        "provider_type": "openai",
        "api_base": "http://two",
        "secret": "env:SKEY",
        "model_mapping": {"small": "small"},
    }
    assert models(**PRIMARY, surl="http://two", smodel="small") == [
        {"name": "gemini", "fallbacks": ("small",)}
    ]


@pytest.mark.parametrize(
    ("values", "mappings", "fallbacks"),
    [
        # The same model at both: the second gets a name of its own, since no model is its own fallback.
        (
            {"surl": "http://two", "smodel": "gemini-pro"},
            {
                "primary": {"gemini": "gemini-pro", "gemini-pro": "gemini-pro"},
                "secondary": {"gemini-pro-secondary": "gemini-pro"},
            },
            ("gemini-pro-secondary",),
        ),
        (
            {"surl": "http://two"},
            {
                "primary": {"gemini": "gemini-pro", "gemini-pro": "gemini-pro"},
                "secondary": {"gemini-pro-secondary": "gemini-pro"},
            },
            ("gemini-pro-secondary",),
        ),
        # A second model without a second server.
        (
            {"smodel": "small"},
            {"primary": {"gemini": "gemini-pro", "gemini-pro": "gemini-pro", "small": "small"}},
            ("small",),
        ),
        ({"model": None}, {"primary": {"gemini": "gemini"}}, None),
    ],
)
def test_s1_16_models_and_their_fallbacks(
    values: dict[str, Any], mappings: dict[str, Any], fallbacks: tuple[str, ...] | None
) -> None:
    given = PRIMARY | values
    assert {name: fields["model_mapping"] for name, fields in providers(**given).items()} == mappings
    expected = [] if fallbacks is None else [{"name": "gemini", "fallbacks": fallbacks}]
    assert models(**given) == expected


def test_the_second_server_alone_serves_the_default_model() -> None:
    found = providers(surl="http://two", smodel="small", default_model="gemini")
    assert {name: fields["model_mapping"] for name, fields in found.items()} == {
        "secondary": {"gemini": "small"}
    }


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"coin_url": "http://coin"}, "CLIENT_ID is not set"),
        ({"coin_url": "http://coin", "client_id": "x"}, "CLIENT_SECRET is not set"),
        ({"client_id": "x", "client_secret": "hush"}, "COIN_URL is not set"),
    ],
)
def test_a_missing_variable_is_named(values: dict[str, Any], message: str) -> None:
    with pytest.raises(StartupError) as raised:
        contents(**PRIMARY, **values)
    assert message in str(raised.value)
    assert "hush" not in str(raised.value)


def test_places_name_the_variables() -> None:
    made = contents(openai_api_key="k", openai_base_url="http://x", downstream_services='{"a": "http://a"}')
    assert made.place("provider", "openai", "api_base") == "OPENAI_BASE_URL"
    assert made.place("provider", "openai", "weight") == "OPENAI_API_KEY"
    assert made.place("provider", "a", "api_base") == "DOWNSTREAM_SERVICES['a']"
