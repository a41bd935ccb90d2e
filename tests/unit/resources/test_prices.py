"""Price overrides as bodies and as views."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec import UNSET
from pydantic import ValidationError

from llm_gateway.flow.config.rows.prices import PriceUpdate, StoredPrice
from llm_gateway.resources.prices import NewPrice, PriceChange, shown

BODY: dict[str, Any] = {"provider": "p", "upstream_model": "m", "prices": {"input_tokens": "2.5"}}


def row(**fields: Any) -> StoredPrice:
    values = {"provider": "p", "upstream_model": "m", "prices": {"input_tokens": "2.5"}, **fields}
    return StoredPrice(id=7, created_at=0, updated_at=UNSET, **values)


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ("2.5", "2.5"),
        ("2.50", "2.5"),
        (2.5, "2.5"),
        (0, "0"),
        (100, "100"),
        (1e-7, "0.0000001"),
        ("1E-18", "0.000000000000000001"),
        (0.1, "0.1"),
    ],
)
def test_a_price_is_the_decimal_that_was_sent(given: Any, text: str) -> None:
    body = NewPrice.model_validate({**BODY, "prices": {"input_tokens": given}})
    assert body.update().prices == {"input_tokens": text}


@pytest.mark.parametrize(
    "given", [None, True, "", "2,5", "$2", "inf", float("nan"), float("inf"), "1e999999", [], {}]
)
def test_what_is_no_price_is_refused(given: Any) -> None:
    with pytest.raises(ValidationError):
        NewPrice.model_validate({**BODY, "prices": {"input_tokens": given}})


def test_what_is_left_out_stays() -> None:
    assert PriceChange.model_validate({}).update() == PriceUpdate()
    body = {"valid_from": "1970-01-01T00:00:01Z", "valid_until": None, "price_version": "x", "id": 7}
    assert PriceChange.model_validate(body).update() == PriceUpdate(valid_from=1_000_000, valid_until=None)
    assert PriceChange.model_validate({"confirm_magnitude": True}).update().confirm_magnitude is True


def test_a_row_shows_its_version_and_its_times() -> None:
    view = shown(row(valid_from=1_000_000), ["w"])
    assert view["valid_from"] == "1970-01-01T00:00:01.000000Z"
    assert (view["valid_until"], view["updated_at"], view["warnings"]) == (None, None, ["w"])
    assert view["price_version"].startswith("override-7-")
    assert "warnings" not in shown(row(), [])


@pytest.mark.parametrize("broken", ["prices", "valid_from", "valid_until"])
def test_a_row_that_cannot_be_read_has_no_version(broken: str) -> None:
    view = shown(row(**{broken: UNSET}), [])
    assert (view[broken], view["price_version"]) == (None, None)
