"""The surfaces are those of SURFACES, with their settings; what is unsafe in these is logged once at the start."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from loguru import logger

from llm_gateway.app.client_apis import client_apis, warn_of_client_apis
from llm_gateway.settings import Settings
from tests.fakes.given_settings import given_settings


def settings(**values: Any) -> Settings:
    return given_settings(**values)


@pytest.fixture
def warnings() -> Iterator[list[str]]:
    """Collect what is logged."""
    logged: list[str] = []
    sink = logger.add(lambda message: logged.append(message.record["message"]), level="WARNING")
    yield logged
    logger.remove(sink)


def test_all_surfaces_are_served_unless_settings_say_otherwise() -> None:
    names = ["openai", "ping", "agents", "query"]
    assert [surface.name for surface in client_apis(settings())] == names
    assert [surface.name for surface in client_apis(settings(surfaces="agents, OPENAI"))] == [
        "agents",
        "openai",
    ]
    paths = [path for surface in client_apis(settings()) for path in surface.openapi_paths()]
    assert len(paths) == len(set(paths))


def test_the_start_warns_of_open_doors(warnings: list[str]) -> None:
    warn_of_client_apis(settings())
    assert warnings == []
    warn_of_client_apis(settings(allow_default_token=True, token_secret="short"))
    assert [text.split(" ")[0] for text in warnings] == ["ALLOW_DEFAULT_TOKEN", "TOKEN_SECRET"]


def test_the_start_warns_of_unsafe_secrets_of_the_surfaces_that_are_served(warnings: list[str]) -> None:
    known = {"llm_proxy_secret": "dev-secret-token", "token_secret": "dgen_secret_key"}
    warn_of_client_apis(settings(**known))
    assert [text.split(" ")[0] for text in warnings] == ["TOKEN_SECRET", "LLM_PROXY_SECRET"]
    warnings.clear()
    warn_of_client_apis(settings(surfaces="openai,query", **known))
    warn_of_client_apis(settings(llm_proxy_secret="a-secret-of-our-own"))
    assert warnings == []
