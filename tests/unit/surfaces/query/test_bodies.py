"""Bodies of queries: what may be in them, and what is refused."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from llm_gateway.core.errors import BadRequest
from llm_gateway.surfaces.query.bodies import Query, read_estimate, read_gateway_query, read_query


def encoded(**fields: Any) -> bytes:
    return msgspec.json.encode({"query": "x", **fields})


def ceiling(number: str) -> str | None:
    return read_gateway_query(b'{"query": "x", "max_cost_usd": %s}' % number.encode()).max_cost_usd


def test_s3_19_a_legacy_query() -> None:
    body = encoded(model="openai", task_type="summarization", request_id="1", max_tokens=5, temperature=0)
    assert read_query(body) == Query(
        text="x", model="openai", task_type="summarization", request_id="1", max_tokens=5, temperature=0
    )
    with pytest.raises(BadRequest, match="'tenant' is not known"):
        read_query(encoded(tenant="t"))


def test_s3_21_a_gateway_query() -> None:
    body = encoded(model_version="gpt-4o", max_cost_usd=0.1, dry_run=True, tenant="t", stream=True)
    assert read_gateway_query(body) == Query(
        text="x", model_version="gpt-4o", max_cost_usd="0.1", is_dry_run=True, tenant="t", is_streamed=True
    )


def test_s3_22_an_estimate_is_always_a_dry_run() -> None:
    query = read_estimate(encoded(expected_response_tokens=0))
    assert (query.is_dry_run, query.expected_response_tokens) == (True, 0)


def test_null_and_empty_names_stand_for_none() -> None:
    names = ("model", "task_type", "request_id", "model_version", "tenant")
    for nothing in (None, ""):
        assert read_gateway_query(encoded(**dict.fromkeys(names, nothing))) == Query(text="x")
    assert read_gateway_query(encoded(max_cost_usd=None, dry_run=None, stream=None)) == Query(text="x")


@pytest.mark.parametrize(
    ("number", "amount"),
    [
        ("0.10", "0.1"),
        ('"0.10"', "0.1"),
        ('" 2 "', "2"),
        ("1e-3", "0.001"),
        ("0", "0"),
        ("0.123456789", "0.123456789"),
        # Rounded down: what it allows is never more than what was written.
        ("0.30000000000000004", "0.3"),
        ("0.0000000019", "0.000000001"),
        ("1e-999999999", "0"),
        ("null", None),
    ],
)
def test_s3_24_a_ceiling_is_exact(number: str, amount: str | None) -> None:
    assert ceiling(number) == amount


@pytest.mark.parametrize(
    "number",
    [
        "-1",
        "-1e-30",
        "true",
        "[]",
        '"ten"',
        '""',
        '"0x1"',
        '"1_0"',
        '"\\u0661"',
        "1e300",
        "1e999999999999999999",
        "9" * 101,
        '"NaN"',
        '"Infinity"',
        '"1e5x"',
    ],
)
def test_s3_24_what_is_no_ceiling_is_refused(number: str) -> None:
    with pytest.raises(BadRequest, match="'max_cost_usd'") as caught:
        ceiling(number)
    assert caught.value.param == "max_cost_usd"


@pytest.mark.parametrize(
    "fields",
    [
        {"query": ""},
        {"query": "\t \n"},
        {"max_tokens": 0},
        {"max_tokens": 1_000_001},
        {"temperature": -0.1},
        {"temperature": 2.01},
        {"request_id": "x" * 129},
        {"request_id": "a\u202eb"},
        {"model": "x" * 257},
    ],
)
def test_values_out_of_range_are_refused_by_name(fields: dict[str, Any]) -> None:
    with pytest.raises(BadRequest) as caught:
        read_query(encoded(**fields))
    assert [caught.value.param] == list(fields)
