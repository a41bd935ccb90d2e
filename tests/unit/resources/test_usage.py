"""Usage rows are shown field by field; filters and cursors are read strictly and named when they are wrong."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from llm_gateway.core.errors import Unprocessable
from llm_gateway.core.ledger.records import AttemptEnded, UsageRecord, finished_at
from llm_gateway.core.times import iso_time
from llm_gateway.flow.paging import make_cursor
from llm_gateway.flow.ports.usage import UsageFilter, UsagePlace
from llm_gateway.flow.usage_pages import place_after, place_cursor
from llm_gateway.resources.usage import AttemptRow, UsageRow, detail, row, wanted
from tests.fakes.usage_records import failed_attempt, record

ALL: dict[str, Any] = dict.fromkeys(
    (
        "since",
        "until",
        "finished_since",
        "finished_until",
        "credential",
        "provider",
        "model",
        "outcome",
        "request_id",
        "tenant",
        "project",
        "agent",
        "end_user",
    )
)


def test_a_row_has_every_field_of_its_record_that_is_a_column() -> None:
    assert set(UsageRow.model_fields) == (
        set(UsageRecord.__struct_fields__) - {"attempt_started_at", "cost_nano_usd"}
        | {"finished_at", "cost_usd"}
    )
    assert set(AttemptRow.model_fields) == (
        set(AttemptEnded.__struct_fields__) - {"request_id", "cost_nano_usd"} | {"cost_usd"}
    )


def test_a_row_shows_the_records_values_and_an_iso_time() -> None:
    stored = record("id-1", cache_hit=True, ttft_ms=1.25, client_ip="::1")
    values = msgspec.structs.asdict(stored)
    del values["attempt_started_at"], values["cost_nano_usd"]
    assert row(stored).model_dump() == values | {
        "cost_usd": None,
        "created_at": "2025-06-15T15:06:40.000000Z",
        "finished_at": iso_time(finished_at(stored)),
    }


COSTS: dict[str, Any] = {
    "cost_nano_usd": 1_500_000_001,
    "cost_source": "catalog",
    "cost_breakdown": {"input_tokens": (10, 1_500_000_000), "audio_seconds": (0.5, 1)},
    "price_version": "2026-11-01",
    "served_tier": "flex",
    "cache_write_tokens": 2,
}


def test_money_is_shown_as_decimal_usd() -> None:
    [attempt] = detail(record("id-1"), [failed_attempt("id-1", **COSTS)]).attempt_details
    for shown in (row(record("id-1", **COSTS)), attempt):
        assert shown.cost_usd == "1.500000001"
        assert shown.model_dump()["cost_breakdown"] == [
            {"unit": "input_tokens", "quantity": 10, "cost_usd": "1.5"},
            {"unit": "audio_seconds", "quantity": 0.5, "cost_usd": "0.000000001"},
        ]
        assert (shown.cost_source, shown.price_version, shown.served_tier) == (
            "catalog",
            "2026-11-01",
            "flex",
        )


def test_a_cost_of_nothing_is_not_an_unknown_cost() -> None:
    assert row(record("id-1", cost_nano_usd=0, cost_source="catalog")).cost_usd == "0"
    unknown = row(record("id-1", cost_source="none", unpriced="unknown_model"))
    assert (unknown.cost_usd, unknown.unpriced) == (None, "unknown_model")


def test_a_detail_is_the_row_with_its_attempts_in_order() -> None:
    stored = record("id-1")
    shown = detail(stored, [failed_attempt("id-1"), failed_attempt("id-1", attempt=2, status=None)])
    assert shown.model_dump(exclude={"attempt_details"}) == row(stored).model_dump()
    assert [(one.attempt, one.status) for one in shown.attempt_details] == [(1, 503), (2, None)]
    assert shown.attempt_details[0].started_at == "2025-06-15T15:06:40.000100Z"
    assert detail(stored, []).attempt_details == []


def test_no_filter_is_the_empty_filter() -> None:
    assert wanted(**ALL) == UsageFilter()


def test_times_become_microseconds_and_texts_stay() -> None:
    values = ALL | {"since": "1970-01-01T00:00:01Z", "until": "100000000.5", "model": "m", "outcome": "ok"}
    assert wanted(**values) == UsageFilter(
        since=1_000_000, until=100_000_000_500_000, model="m", outcome="ok"
    )


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("since", "yesterday"),
        ("until", "9" * 30),
        ("until", ""),
        ("since", "2026"),
        ("since", "20261399"),
        ("until", "1764500000000"),
        ("finished_since", "soon"),
        ("finished_until", "0001-01-01T00:00+14:00"),
        ("credential", "a\0"),
        ("provider", "\0"),
        ("model", "a\0b"),
        ("request_id", "\0a"),
    ],
)
def test_a_bad_filter_names_its_field(field: str, value: str) -> None:
    with pytest.raises(Unprocessable, match=field) as error:
        wanted(**ALL | {field: value})
    assert error.value.param == field


@pytest.mark.parametrize("request_id", ["id-1", "with.dots.in.it", "", "é"])
def test_a_cursor_leads_back_to_its_place(request_id: str) -> None:
    stored = record(request_id)
    assert place_after(place_cursor(stored, "created_at"), "created_at") == UsagePlace(
        stored.created_at, request_id
    )
    by_end = place_cursor(stored, "finished_at")
    assert place_after(by_end, "finished_at") == UsagePlace(finished_at(stored), request_id)
    with pytest.raises(Unprocessable):
        place_after(by_end, "created_at")


def test_no_cursor_is_the_start() -> None:
    assert place_after(None, "created_at") is None


@pytest.mark.parametrize("place", ["", ".id", "-5.id", "1e3.id", "٣.id", f"{10**17}0.id", "5.a\0b", "id"])
def test_a_cursor_that_this_list_never_made_is_rejected(place: str) -> None:
    with pytest.raises(Unprocessable) as error:
        place_after(make_cursor(f"c{place}"), "created_at")
    assert error.value.param == "cursor"
