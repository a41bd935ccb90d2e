"""The price book that ships with the gateway, and what it must not say."""

from __future__ import annotations

from pathlib import Path

import pytest

from llm_gateway.core.pricing.price_table import price
from llm_gateway.infra.price_book import shipped
from llm_gateway.infra.price_book.shipped import shipped_price_book
from llm_gateway.infra.startup_error import StartupError
from llm_gateway.providers.registry import KINDS

# 2026-11-29.
AT = 1_795_910_400_000_000
CHAT = {"input_tokens": 1000, "output_tokens": 100}


def test_it_is_read_once() -> None:
    assert shipped_price_book() is shipped_price_book()


@pytest.mark.parametrize("content", [None, b"{}", b'{"format":99,"version":"1","units":{},"providers":{}}'])
def test_an_installation_without_its_price_book_does_not_start(
    content: bytes | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "prices.json"
    if content is not None:
        file.write_bytes(content)
    monkeypatch.setattr(shipped, "FILE", file)
    shipped_price_book.cache_clear()
    try:
        with pytest.raises(StartupError, match="install the gateway again"):
            shipped_price_book()
    finally:
        shipped_price_book.cache_clear()


def test_it_knows_the_price_provider_of_every_kind() -> None:
    named = {name: kind.price_provider for name, kind in KINDS.items() if kind.price_provider is not None}
    assert set(named.values()) <= set(shipped_price_book().providers)
    # Names of deployments at Azure are any; hardware that people run themselves is not free.
    unknown = {"azure", "simulated", "ollama", "vllm", "llamacpp", "lmstudio"}
    assert named.keys() == KINDS.keys() - unknown


def test_prices_are_per_the_numbers_that_the_documentation_names() -> None:
    """In docs/costs.md, and in the descriptions of `prices` in the admin API."""
    per = {"tokens": 1_000_000, "characters": 1_000_000, "seconds": 3600, "pixels": 1_000_000_000}
    units = shipped_price_book().units
    assert {name: units[name].per for name in units} == {
        name: per.get(name.rpartition("_")[2], 1000) for name in units
    }


@pytest.mark.parametrize(
    ("kind", "model"),
    [
        ("openai", "text-embedding-3-small"),
        ("anthropic", "claude-sonnet-4-5"),
        ("gemini", "gemini-2.5-flash"),
        ("mistral", "mistral-large-latest"),
        ("deepseek", "deepseek-chat"),
        ("openrouter", "anthropic/claude-sonnet-4.5"),
        ("groq", "llama-3.3-70b-versatile"),
        ("together", "meta-llama/Llama-3.3-70B-Instruct-Turbo"),
        ("xai", "grok-4"),
        ("fireworks", "accounts/fireworks/models/gpt-oss-120b"),
        ("cerebras", "llama3.1-8b"),
    ],
)
def test_it_has_prices_for_the_names_that_each_kind_uses(kind: str, model: str) -> None:
    schedule = shipped_price_book().schedule(KINDS[kind].price_provider, model)
    assert price(schedule.table(AT), CHAT).nano_usd


@pytest.mark.parametrize(
    "provider", ["openai", "anthropic", "google", "openrouter", "azure", "mistral", "groq", "deepseek"]
)
def test_it_has_the_providers_that_the_gateway_speaks_to(provider: str) -> None:
    assert provider in shipped_price_book().providers


@pytest.mark.parametrize(
    ("provider", "model", "nano_usd"),
    [
        ("openai", "gpt-4o", 3_500_000),
        ("openai", "gpt-4o-2024-08-06", 3_500_000),
        ("azure", "gpt-4o", 3_500_000),
        ("anthropic", "claude-sonnet-4-5-20250929", 4_500_000),
        ("openrouter", "deepseek/deepseek-r1:free", 0),
        ("openai", "omni-moderation-latest", 0),
    ],
)
def test_a_known_price(provider: str, model: str, nano_usd: int) -> None:
    assert price(shipped_price_book().schedule(provider, model).table(AT), CHAT).nano_usd == nano_usd


@pytest.mark.parametrize(
    ("provider", "model", "usage", "reason"),
    [
        ("openai", "tts-1", CHAT, "unreported_usage"),
        ("openai", "whisper-1", CHAT, "unreported_usage"),
        ("github-copilot", "gpt-4o", CHAT, "no_price"),
        ("azure", "phi-4-reasoning:free", CHAT, "no_price"),
        ("openai", "gpt-4o-audio-preview", {**CHAT, "output_audio_tokens": 50}, "audio_without_price"),
        ("openai", "openai/gpt-4o", CHAT, "unknown_model"),
        ("ollama", "llama3", CHAT, "unknown_provider"),
        (None, "gpt-4o", CHAT, "unknown_provider"),
    ],
)
def test_what_the_package_takes_for_free_is_unknown(
    provider: str | None, model: str, usage: dict[str, int], reason: str
) -> None:
    cost = price(shipped_price_book().schedule(provider, model).table(AT), usage)
    assert (cost.nano_usd, cost.unknown) == (None, reason)


def test_long_prompts_cost_more_from_one_token_to_the_next() -> None:
    schedule = shipped_price_book().schedule("anthropic", "claude-sonnet-4-5")
    costs = [
        price(schedule.table(AT), {"input_tokens": total, "output_tokens": 0}).nano_usd
        for total in (150_000, 200_000, 200_001, 300_000)
    ]
    assert costs == [450_000_000, 600_000_000, 1_200_006_000, 1_800_000_000]
