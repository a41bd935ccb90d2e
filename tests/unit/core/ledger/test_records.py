"""A request's record says how its last attempt went, and what is known of one whose process died."""

from __future__ import annotations

import msgspec

from llm_gateway.core.ledger.records import AttemptBegun, UsageRecord, interrupted, last_attempt
from tests.fakes.usage_records import attempt, record


def test_the_last_attempt_has_what_its_request_used() -> None:
    end = record(
        "a",
        attempts=2,
        attempt_started_at=1_750_000_000_040_000,
        upstream_model="up",
        upstream_latency_ms=7.5,
        ttft_ms=45.5,
        cached_tokens=1,
    )
    last = last_attempt(end)
    assert last is not None
    assert {name: value for name, value in msgspec.structs.asdict(last).items() if value is not None} == {
        "request_id": "a",
        "attempt": 2,
        "started_at": 1_750_000_000_040_000,
        "provider": "main",
        "model": "gpt-4o",
        "upstream_model": "up",
        "outcome": "ok",
        "status": 200,
        "latency_ms": 7.5,
        "ttft_ms": 5.5,
        "prompt_tokens": 3,
        "completion_tokens": 2,
        "total_tokens": 5,
        "cached_tokens": 1,
        "usage_source": "provider",
    }


def test_a_status_of_the_gateways_own_is_not_the_providers() -> None:
    last = last_attempt(record("a", outcome="aborted", status_code=499, error_type="client_left"))
    assert last is not None
    assert (last.status, last.outcome, last.reason) == (None, "aborted", "client_left")


def test_a_request_without_an_attempt_has_no_last_one() -> None:
    assert last_attempt(record("a", attempts=0, provider=None)) is None


def test_a_begun_attempt_is_all_that_is_known_of_a_request_whose_process_died() -> None:
    end = interrupted(attempt("a", attempts=3))
    assert (end.outcome, end.status_code, end.attempts, end.provider) == ("interrupted", 0, 3, "main")
    last = last_attempt(end)
    assert last is not None
    assert (last.attempt, last.started_at, last.latency_ms) == (3, 1_750_000_000_000_100, None)


def test_journals_from_before_there_were_attempt_rows_can_be_read() -> None:
    old = [msgspec.to_builtins(attempt("a")), msgspec.to_builtins(record("a"))]
    for fact in old:
        fact.pop("started_at", None)
        fact.pop("attempt_started_at", None)
    begun = msgspec.convert(old[0], AttemptBegun)
    assert begun.started_at is None
    last = last_attempt(interrupted(begun))
    assert last is not None
    assert last.started_at == begun.created_at
    assert msgspec.convert(old[1], UsageRecord) == record("a")
