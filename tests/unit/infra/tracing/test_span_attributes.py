"""Spans say what the ledger says: an attempt's usage, and of a request everything but that."""

from __future__ import annotations

from llm_gateway.infra.tracing.span_attributes import attempt_ended, request_ended
from tests.fakes.usage_records import failed_attempt, record


def test_a_request_has_no_usage_and_no_cost() -> None:
    attributes = request_ended(
        record("r", cost_nano_usd=7, cost_source="catalog", ttft_ms=1500.0, tenant="t")
    )
    assert not [name for name in attributes if "usage" in name or "cost" in name or "token" in name[:20]]
    assert attributes["llm_gateway.time_to_first_token"] == 1.5
    assert attributes["llm_gateway.tenant"] == "t"
    assert attributes["http.response.status_code"] == 200
    assert "error.type" not in attributes


def test_what_is_unknown_has_no_attribute() -> None:
    assert set(attempt_ended(failed_attempt("r"))) == {
        "llm_gateway.outcome", "http.response.status_code", "error.type", "llm_gateway.next_step",
    }  # fmt: skip
    assert "http.response.status_code" not in request_ended(record("r", status_code=0))


def test_an_attempt_has_what_it_used() -> None:
    ended = failed_attempt(
        "r", prompt_tokens=5, completion_tokens=2, cached_tokens=0, cache_write_tokens=3, reasoning_tokens=1,
        usage_source="provider", cost_nano_usd=0, cost_source="override", ttft_ms=250.0,
    )  # fmt: skip
    attributes = attempt_ended(ended)
    assert attributes["gen_ai.usage.input_tokens"] == 5
    assert attributes["gen_ai.usage.output_tokens"] == 2
    assert attributes["gen_ai.usage.cache_read.input_tokens"] == 0
    assert attributes["gen_ai.usage.cache_creation.input_tokens"] == 3
    assert attributes["gen_ai.usage.reasoning.output_tokens"] == 1
    assert attributes["llm_gateway.cost.nano_usd"] == 0
    assert attributes["gen_ai.response.time_to_first_chunk"] == 0.25


def test_an_unpriced_attempt_says_why() -> None:
    attributes = attempt_ended(failed_attempt("r", unpriced="no_price"))
    assert attributes["llm_gateway.cost.unpriced"] == "no_price"
    assert "llm_gateway.cost.nano_usd" not in attributes
