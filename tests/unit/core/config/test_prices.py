"""Overrides: what a valid one looks like, what identifies it, and which prices deployments get."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from llm_gateway.core.config.prices import PriceLookup, PriceOverride, price_faults
from llm_gateway.core.config.providers import Kind, price_provider_of
from llm_gateway.core.pricing.price_table import price
from tests.fakes.in_memory import provider
from tests.fakes.price_books import price_book

BOOK = price_book()
MILLION = {"input_tokens": 1_000_000, "output_tokens": 0}
KIND = Kind(name="acme", default_api_base="https://api.acme.test/v1", price_provider="acme")


def override(row_id: int = 1, **fields: Any) -> PriceOverride:
    values = {
        "provider": "p",
        "upstream_model": "cheap",
        "prices": {"input_tokens": "2", "output_tokens": "4"},
        **fields,
    }
    return PriceOverride(id=row_id, **values)


def faults(**fields: Any) -> dict[str, str]:
    return {fault.field: fault.message for fault in price_faults(override(**fields), BOOK.units)}


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"prices": {"input_tokens": "0"}},
        {"prices": {"input_tokens": "0.000000000000000001"}},
        {"prices": {"requests": "12", "web_searches": "10"}},
        {"valid_from": 1, "valid_until": 2},
        {"valid_until": 1},
    ],
)
def test_a_valid_override(fields: dict[str, Any]) -> None:
    assert faults(**fields) == {}


@pytest.mark.parametrize(
    ("fields", "field", "says"),
    [
        ({"provider": ""}, "provider", "must not be empty"),
        ({"upstream_model": ""}, "upstream_model", "must not be empty"),
        ({"prices": {}}, "prices", "one unit at least, such as input_tokens; 0 means free"),
        ({"valid_from": 5, "valid_until": 5}, "valid_until", "later than valid_from"),
        ({"prices": {"input_token": "1"}}, "prices.input_token", "similar units are input_tokens"),
        ({"prices": {"prompt": "1"}}, "prices.prompt", "similar units are input_tokens, output_tokens"),
        ({"prices": {"input_tokens": "-1"}}, "prices", "the price of input_tokens must be a number from 0"),
        ({"prices": {"input_tokens": "1e3"}}, "prices.input_tokens", "must be a decimal number of USD"),
        ({"prices": {"input_tokens": "NaN"}}, "prices.input_tokens", "must be a decimal number of USD"),
        ({"prices": {"input_tokens": "1.0000000000000000001"}}, "prices", "at most 18 decimals"),
        ({"prices": {"cache_read_tokens": "1"}}, "prices", "needs one for input_tokens"),
    ],
)
def test_a_fault_says_what_is_wrong(fields: dict[str, Any], field: str, says: str) -> None:
    found = faults(**fields)
    assert list(found) == [field]
    assert says in found[field]


def test_without_a_price_book_units_are_not_checked() -> None:
    assert price_faults(override(prices={"nonsense": "1"}), None) == []


def test_the_version_changes_with_the_content_and_with_nothing_else() -> None:
    version = override().version
    assert version.startswith("override-1-")
    assert override(prices={"output_tokens": "4.00", "input_tokens": "2.0"}).version == version
    changed = [
        override(2),
        override(provider="q"),
        override(upstream_model="dear"),
        override(prices={"input_tokens": "20", "output_tokens": "4"}),
        override(prices={"input_tokens": "2"}),
        override(valid_from=1),
        override(valid_until=1),
    ]
    assert len({version, *(one.version for one in changed)}) == len(changed) + 1


def test_an_override_holds_for_its_provider_and_model_only() -> None:
    lookup = PriceLookup(BOOK, [override(valid_from=100)])

    def shown(key: str, model: str, at: int) -> tuple[str, int | None]:
        found = lookup.prices(key, "acme", model).at(at)
        return found.source, price(found.table, MILLION).nano_usd

    assert shown("p", "cheap", 99) == ("catalog", 500_000_000)
    assert shown("p", "cheap", 100) == ("override", 2_000_000_000)
    assert shown("q", "cheap", 100) == ("catalog", 500_000_000)
    assert shown("p", "dear", 100) == ("catalog", 10_000_000_000)


def test_of_overrides_that_began_together_the_newest_wins() -> None:
    lookup = PriceLookup(BOOK, [override(7, prices={"input_tokens": "7"}), override(3)])
    assert lookup.prices("p", None, "cheap").at(0).version.startswith("override-7-")


def test_a_glob_holds_for_the_models_that_no_other_override_names() -> None:
    lookup = PriceLookup(
        BOOK,
        [
            override(1, valid_until=200),
            override(2, upstream_model="*", prices={"input_tokens": "9"}),
            override(3, upstream_model="ch*", prices={"input_tokens": "8"}, valid_from=100),
        ],
    )

    def winner(key: str, model: str, at: int) -> str:
        return lookup.prices(key, "acme", model).at(at).version[: len("override-0")]

    assert [winner("p", "cheap", at) for at in (99, 150, 200)] == ["override-1", "override-1", "override-3"]
    assert [winner("p", "cheese", at) for at in (99, 100)] == ["override-2", "override-3"]
    assert winner("p", "dear", 100) == "override-2"
    assert winner("q", "dear", 100) == "book-1"


def test_deployments_without_overrides_share_their_prices() -> None:
    lookup = PriceLookup(BOOK, [])
    assert lookup.prices("p", "acme", "cheap") is lookup.prices("q", "acme", "cheap")
    assert lookup.prices("p", None, "cheap").at(0).table.unknown == "unknown_provider"
    assert lookup.prices("p", "acme", "nonsense").at(0).table.unknown == "unknown_model"
    assert lookup.prices("p", "acme", "unpriced").at(0).table.unknown == "no_price"


@pytest.mark.parametrize(
    ("fields", "found"),
    [
        ({"api_base": "https://api.acme.test"}, "acme"),
        ({"api_base": "HTTPS://API.ACME.TEST/other/"}, "acme"),
        ({"api_base": "https://eu.api.acme.test/v1"}, None),
        ({"api_base": "http://10.0.0.1/v1"}, None),
        ({"api_base": "http://[::1/v1"}, None),
        ({"api_base": "http://10.0.0.1/v1", "price_provider": "openai"}, "openai"),
        ({"api_base": "https://api.acme.test", "price_provider": "openai"}, "openai"),
    ],
)
def test_prices_of_a_kind_hold_at_its_own_host(fields: dict[str, Any], found: str | None) -> None:
    assert price_provider_of(provider("p", **fields), KIND) == found


def test_a_kind_without_a_host_or_without_prices_has_no_known_ones() -> None:
    for kind in (
        Kind(name="azure", price_provider="acme"),
        Kind(name="vllm", default_api_base="https://p.test"),
    ):
        assert price_provider_of(provider("p"), kind) is None


def test_a_stored_override_is_a_value() -> None:
    one = override()
    assert msgspec.structs.replace(one, id=1) == one
