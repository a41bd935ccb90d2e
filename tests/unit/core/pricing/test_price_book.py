"""The price book: what a file says about the models of each provider."""

from __future__ import annotations

import json
from typing import Any

import pytest

from llm_gateway.core.pricing import price_book
from llm_gateway.core.pricing.price_book import FORMAT, PriceBook
from llm_gateway.core.pricing.price_table import price
from tests.unit.core.pricing.conftest import DIMENSIONS, PER

USAGE = {"input_tokens": 1, "output_tokens": 0}
FLEX = [[{"service_tier": "flex"}, None, {"input_tokens": "7"}]]
PROVIDERS: dict[str, Any] = {
    "acme": {
        "clause": {"starts_with": "acme"},
        "models": [
            ["m-1", {"or": ["m-1", "M-One"]}, [[None, {"input_tokens": "1", "output_tokens": "1"}]], FLEX],
            ["m-2", {"starts_with": "m-2"}, [[None, {}]]],
            ["m-2025", "m-3-2025-12-11", [[None, {"input_tokens": ["1", [[5, "2"]]], "output_tokens": "1"}]]],
            [
                "dated",
                "dated",
                [
                    [None, {"input_tokens": "1", "output_tokens": "1"}],
                    ["1970-01-02", {"input_tokens": "2", "output_tokens": "1"}],
                    [["01:00:00", "02:00:00"], {"input_tokens": "3", "output_tokens": "1"}],
                ],
            ],
        ],
    },
    "reseller": {
        "fallbacks": ["acme"],
        "models": [["own", "own", [[None, {"input_tokens": "9", "output_tokens": "9"}]]]],
    },
}


def file(**changes: Any) -> bytes:
    units = {
        name: [PER.get(name, 1_000_000), dict(pair.split(":", 1) for pair in text.split())]
        for name, text in DIMENSIONS.items()
    }
    return json.dumps(
        {"format": FORMAT, "version": "test-1", "units": units, "providers": PROVIDERS, **changes}
    ).encode()


@pytest.fixture
def book() -> PriceBook:
    return PriceBook(file())


def cost(book: PriceBook, provider: str | None, model: str, at: int = 0, **context: str) -> int | str | None:
    """Return the price of an input token in thousands of nano-USD, or why it is unknown."""
    found = price(book.schedule(provider, model).table(at, context), USAGE)
    return found.unknown if found.nano_usd is None else found.nano_usd // 1000


def test_a_book_has_a_version_and_providers(book: PriceBook) -> None:
    assert (book.version, book.providers) == ("test-1", ("acme", "reseller"))


@pytest.mark.parametrize("name", ["m-1", "M-1", "m-one"])
def test_a_model_is_found_by_all_its_names(book: PriceBook, name: str) -> None:
    assert cost(book, "acme", name) == 1
    assert book.schedule("acme", name).model == "m-1"


def test_a_compact_date_is_found_as_a_dashed_one(book: PriceBook) -> None:
    assert book.schedule("acme", "m-3-20251211").model == "m-2025"
    assert (
        price(book.schedule("acme", "m-3-20251211").table(0), {**USAGE, "input_tokens": 6}).nano_usd == 12_000
    )


@pytest.mark.parametrize(
    ("provider", "model", "reason"),
    [
        ("nobody", "m-1", "unknown_provider"),
        (None, "m-1", "unknown_provider"),
        ("acme", "m-4", "unknown_model"),
        ("acme", "", "unknown_model"),
        ("acme", "m-2" + "x" * 1000, "unknown_model"),
        ("a" + "x" * 1000, "m-1", "unknown_provider"),
        ("acme", "m-2-large", "no_price"),
    ],
)
def test_what_the_book_does_not_have_costs_nobody_knows_what(
    book: PriceBook, provider: str | None, model: str, reason: str
) -> None:
    assert cost(book, provider, model) == reason


@pytest.mark.parametrize("name", ["acme", "ACME", " acme ", "acme-eu"])
def test_a_provider_goes_by_several_names(book: PriceBook, name: str) -> None:
    assert book.provider(name) == "acme"


def test_a_reseller_has_the_models_of_others_but_not_their_offers(book: PriceBook) -> None:
    assert cost(book, "reseller", "own") == 9
    assert cost(book, "reseller", "m-1", service_tier="flex") == 1
    assert cost(book, "acme", "m-1", service_tier="flex") == 7
    assert cost(book, "acme", "own") == "unknown_model"


def test_prices_have_dates_and_times_of_day(book: PriceBook) -> None:
    hour = 3_600_000_000
    assert [cost(book, "acme", "dated", at) for at in (0, hour, 2 * hour, 24 * hour, 25 * hour)] == [
        1,
        3,
        1,
        2,
        3,
    ]


def test_a_name_is_looked_up_once(book: PriceBook) -> None:
    assert book.schedule("acme", "m-1") is book.schedule("acme", "M-1")


def test_the_number_of_remembered_names_is_bounded(book: PriceBook) -> None:
    for number in range(price_book._REMEMBERED + 100):
        book.schedule("acme", f"m-2-{number}")
    assert len(book._by_name) == 100
    assert len(book._by_row) == 1
    assert cost(book, "acme", "m-1") == 1


@pytest.mark.parametrize(
    "data", [b"", b"[]", b"{}", file()[:-1], file(units=[]), file(providers={"x": {}}), file(version=None)]
)
def test_a_file_that_is_no_price_book_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="the price book cannot be read"):
        PriceBook(data)


def test_a_file_of_another_format_is_refused() -> None:
    with pytest.raises(ValueError, match="has format 99"):
        PriceBook(file(format=99))
