"""The filter of requests: what it reads, what is wrong with it and where, and the query that leads back."""

from __future__ import annotations

import pytest

from llm_gateway.console.requests.filter_form import FIELDS, filter_query, read_filter
from llm_gateway.flow.ports.usage import UsageFilter


def test_an_empty_form_means_all_rows() -> None:
    form, wanted = read_filter({"model": " ", "outcome": ""})
    assert wanted == UsageFilter()
    assert not form.errors


def test_there_is_a_field_for_each_part_of_the_filter() -> None:
    assert {field.name for field in FIELDS} == {*UsageFilter.__struct_fields__}


def test_texts_become_values() -> None:
    query = {"since": "2026-01-31", "until": "1769817600", "credential": " team ", "outcome": "error"}
    form, wanted = read_filter({**query, "cursor": "x", "limit": "10"})
    assert wanted == UsageFilter(
        since=1_769_817_600_000_000, until=1_769_817_600_000_000, credential="team", outcome="error"
    )
    assert filter_query(form) == query


@pytest.mark.parametrize(
    ("name", "text", "error"),
    [
        ("since", "tomorrow", "must be an ISO 8601 time (UTC unless it has an offset) or Unix seconds"),
        (
            "finished_until",
            "9" * 400,
            "must be an ISO 8601 time (UTC unless it has an offset) or Unix seconds",
        ),
        ("outcome", "fine", "must be one of ok, error, aborted, interrupted, rejected"),
        ("model", "m" * 301, "must be at most 300 characters long"),
        ("agent", "a\0b", "must not hold a NUL character"),
    ],
)
def test_an_error_stands_beside_its_field(name: str, text: str, error: str) -> None:
    form, wanted = read_filter({name: text, "tenant": "red"})
    assert wanted is None
    assert form.errors == {name: error}
    assert form.texts["tenant"] == "red"


def test_a_filter_that_does_not_exist_is_not_ignored() -> None:
    form, wanted = read_filter({"modle": "gpt"})
    assert wanted is None
    assert form.errors == {"": "There is no filter 'modle'."}
