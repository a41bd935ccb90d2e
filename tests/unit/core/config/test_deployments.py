"""Deployments: the URL that a provider's base leads to, and their prices."""

from __future__ import annotations

import pytest

from llm_gateway.core.config.deployments import EnabledProvider, normalise_base_url
from llm_gateway.core.config.prices import PriceOverride
from llm_gateway.core.config.providers import Kind, provider_faults
from tests.fakes.in_memory import provider
from tests.fakes.price_books import price_book
from tests.fakes.routing import snapshot_of

KINDS = {
    "openai": Kind(name="openai"),
    "gemini": Kind(name="gemini", version_segment="/v1beta"),
    "bare": Kind(name="bare", version_segment="", stream_usage=False),
    "made-up": Kind(name="made-up", version_segment="", schemes=("made-up",)),
}
BOOK = price_book()
OVERRIDE = PriceOverride(id=1, provider="p", upstream_model="cheap", prices={"input_tokens": "2"})


@pytest.mark.parametrize(
    ("api_base", "kind", "base_url"),
    [
        ("https://api.openai.com", "openai", "https://api.openai.com/v1"),
        ("https://api.openai.com/", "openai", "https://api.openai.com/v1"),
        ("https://api.openai.com/v1", "openai", "https://api.openai.com/v1"),
        ("https://api.openai.com/v1/", "openai", "https://api.openai.com/v1"),
        ("http://127.0.0.1:8000/openai", "openai", "http://127.0.0.1:8000/openai/v1"),
        ("https://h/api/paas/v4", "openai", "https://h/api/paas/v4"),
        ("https://h/v1beta/openai", "openai", "https://h/v1beta/openai"),
        ("https://v1.example.com", "openai", "https://v1.example.com/v1"),
        ("https://h/vllm", "openai", "https://h/vllm/v1"),
        ("https://h/v", "openai", "https://h/v/v1"),
        (
            "https://generativelanguage.googleapis.com",
            "gemini",
            "https://generativelanguage.googleapis.com/v1beta",
        ),
        ("https://h/v1", "gemini", "https://h/v1"),
        ("http://h:1234/x/", "bare", "http://h:1234/x"),
        ("http://[::1]:8000", "openai", "http://[::1]:8000/v1"),
    ],
)
def test_c16_a_base_without_a_version_gets_the_kinds(api_base: str, kind: str, base_url: str) -> None:
    assert normalise_base_url(api_base, KINDS[kind]) == base_url
    one = provider("p", provider_type=kind, api_base=api_base)
    assert provider_faults(one, KINDS) == []
    serving = EnabledProvider(one, KINDS[kind])
    assert (serving.base_url, serving.provider.api_base) == (base_url, api_base)


def test_deployments_of_a_snapshot_have_prices() -> None:
    snapshot = snapshot_of(
        provider("p", price_provider="acme", model_mapping={"m": "cheap"}),
        provider("q", 2, model_mapping={"*": "*"}, price_provider="acme"),
        prices=BOOK,
        overrides=(OVERRIDE,),
    )
    route = snapshot.route("m")
    assert route is not None
    prices = [one.prices for one in route.deployments]
    assert [one.at(0).source for one in prices if one is not None] == ["override", "catalog"]
    assert [one.at(0).are_known for one in prices if one is not None] == [True, False]
    made = snapshot.route("dear")
    assert made is not None
    assert made.deployments[0].prices is not None
    assert made.deployments[0].prices.at(0).are_known


def test_without_a_price_book_deployments_have_no_prices() -> None:
    route = snapshot_of(provider("p", model_mapping={"m": "cheap"})).route("m")
    assert route is not None
    assert route.deployments[0].prices is None
