"""Service tiers lead to the prices that the price book has for them."""

from __future__ import annotations

import pytest

from llm_gateway.core.pricing.tier_context import tier_context
from llm_gateway.infra.price_book.shipped import shipped_price_book

AT = 1_795_000_000_000_000


@pytest.mark.parametrize(
    ("provider", "model", "tier"),
    [
        ("openai", "gpt-5", "flex"),
        ("openai", "gpt-5", "priority"),
        ("anthropic", "claude-opus-5", "fast"),
        ("anthropic", "claude-opus-5", "batch"),
    ],
)
def test_a_tier_with_prices_of_its_own_has_them(provider: str, model: str, tier: str) -> None:
    schedule = shipped_price_book().schedule(provider, model)
    assert schedule.table(AT).unknown is None
    assert schedule.table(AT, tier_context(tier)) != schedule.table(AT)


@pytest.mark.parametrize("tier", [None, "default", "standard", "no such tier"])
def test_other_tiers_have_the_ordinary_prices(tier: str | None) -> None:
    for provider, model in (("openai", "gpt-5"), ("anthropic", "claude-opus-5")):
        schedule = shipped_price_book().schedule(provider, model)
        assert schedule.table(AT, tier_context(tier)).bands == schedule.table(AT).bands
