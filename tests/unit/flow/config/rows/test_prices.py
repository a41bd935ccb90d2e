"""Whether prices are plausible is asked when they are set, and what the admin confirms is kept."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec import UNSET

from llm_gateway.core.config.snapshot import Snapshot
from llm_gateway.core.errors import Unprocessable
from llm_gateway.flow.config.rows.prices import PriceUpdate, StoredPrice, check_magnitude
from tests.fakes.in_memory import provider
from tests.fakes.price_books import price_book
from tests.fakes.routing import snapshot_of

BOOK = price_book()


@pytest.fixture
def snapshot() -> Snapshot:
    return snapshot_of(
        provider("p", price_provider="acme"),
        provider("off", 2, price_provider="acme", is_enabled=False),
        prices=BOOK,
    )


def update(amount: str = "0.0005", **fields: Any) -> PriceUpdate:
    values = {"provider": "p", "upstream_model": "cheap", "prices": {"input_tokens": amount}, **fields}
    return PriceUpdate(**values)


def stored(amount: str, **fields: Any) -> StoredPrice:
    values = {"provider": "p", "upstream_model": "cheap", "prices": {"input_tokens": amount}, **fields}
    return StoredPrice(id=1, created_at=0, updated_at=0, **values)


@pytest.mark.parametrize("key", ["p", "off"])
def test_a_mistake_is_refused_and_the_way_through_is_named(snapshot: Snapshot, key: str) -> None:
    with pytest.raises(Unprocessable) as caught:
        check_magnitude(update(provider=key), None, snapshot, BOOK)
    assert caught.value.param == "prices.input_tokens"
    assert "did you mean 0.5?" in caught.value.message
    assert caught.value.message.endswith("Send confirm_magnitude: true to keep it.")


def test_each_doubt_is_named(snapshot: Snapshot) -> None:
    prices = {"input_tokens": "0.0005", "output_tokens": "0.0015"}
    with pytest.raises(Unprocessable, match=r"did you mean 0\.5.*did you mean 1\.5.*to keep them"):
        check_magnitude(update(prices=prices), None, snapshot, BOOK)


def test_what_is_confirmed_is_stored_without_the_confirmation(snapshot: Snapshot) -> None:
    kept = check_magnitude(update(confirm_magnitude=True), None, snapshot, BOOK)
    assert kept == update()
    assert kept.confirm_magnitude is UNSET
    with pytest.raises(Unprocessable):
        check_magnitude(update(confirm_magnitude=False), None, snapshot, BOOK)


def test_prices_that_stay_are_not_asked_about_again(snapshot: Snapshot) -> None:
    before = stored("0.0005")
    for change in (PriceUpdate(valid_from=1), PriceUpdate(prices=before.prices)):
        assert check_magnitude(change, before, snapshot, BOOK) == change
    with pytest.raises(Unprocessable):
        check_magnitude(PriceUpdate(prices={"input_tokens": "0.0006"}), before, snapshot, BOOK)
    # The same numbers mean something else for another model.
    with pytest.raises(Unprocessable):
        check_magnitude(PriceUpdate(upstream_model="dear"), stored("0.05"), snapshot, BOOK)


def test_a_row_that_could_not_be_read_can_be_changed(snapshot: Snapshot) -> None:
    broken = stored("0", prices=UNSET)
    change = PriceUpdate(valid_from=None)
    assert check_magnitude(change, broken, snapshot, BOOK) == change


def test_unknown_providers_and_models_are_compared_with_usual_prices(snapshot: Snapshot) -> None:
    for fields in ({"provider": "gone"}, {"upstream_model": "nonsense"}):
        with pytest.raises(Unprocessable, match="models usually cost"):
            check_magnitude(update(**fields), None, snapshot, BOOK)
        assert check_magnitude(update("2", **fields), None, snapshot, BOOK).prices == {"input_tokens": "2"}
    with pytest.raises(Unprocessable, match="models usually cost"):
        check_magnitude(update(), None, None, BOOK)


def test_what_is_no_price_is_left_to_validation(snapshot: Snapshot) -> None:
    for prices in ({"nonsense": "0.0005"}, {"input_tokens": "x"}, {"input_tokens": "-1"}):
        assert check_magnitude(update(prices=prices), None, snapshot, BOOK).prices == prices
    assert check_magnitude(update(), None, snapshot, None) == update()
