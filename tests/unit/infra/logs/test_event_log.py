"""Log lines for administrators: an outage does not flood the log, and each line says what happened."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from loguru import logger

from llm_gateway.core.config.faults import Fault
from llm_gateway.core.ledger.records import AttemptEnded
from llm_gateway.flow.ports.listeners import ConfigRejection, ProviderTest
from llm_gateway.infra.logs.event_log import AttemptLog, ReloadLog, TrialLog, log_opened_breaker


@pytest.fixture
def lines() -> Iterator[list[str]]:
    written: list[str] = []
    handler = logger.add(
        lambda message: written.append(f"{message.record['level'].name} {message.record['message']}"),
        level="INFO",
    )
    yield written
    logger.remove(handler)


def failed(**changes: Any) -> AttemptEnded:
    values: dict[str, Any] = {
        "request_id": "r1",
        "attempt": 1,
        "started_at": 1,
        "outcome": "error",
        "provider": "main",
        "model": "m",
        "upstream_model": "up",
        "reason": "status",
        "status": 500,
        "detail": "status 500",
        **changes,
    }
    return AttemptEnded(**values)


def test_equal_failures_are_one_line_per_interval_and_are_counted(lines: list[str]) -> None:
    now = 0.0
    log = AttemptLog(interval=5.0, monotonic=lambda: now)
    for moment in (0.0, 1.0, 4.9):
        now = moment
        log.attempt_failed(failed())
    log.attempt_failed(failed(provider="other"))
    now = 5.0
    log.attempt_failed(failed(request_id="r2"))
    assert lines == [
        "WARNING Provider 'main' failed for model 'up': status 500. Request r1.",
        "WARNING Provider 'other' failed for model 'up': status 500. Request r1.",
        "WARNING Provider 'main' failed for model 'up': status 500. Request r2 (2 more like it).",
    ]


def test_a_rejected_key_is_an_error_that_names_the_field(lines: list[str]) -> None:
    AttemptLog().attempt_failed(failed(status=401))
    assert lines == [
        "ERROR Provider 'main' rejected the gateway's API key (401): set a valid api_key. Request r1."
    ]


def test_an_opened_breaker_says_for_how_long(lines: list[str]) -> None:
    log_opened_breaker("main", "up", 5.04)
    assert lines == ["WARNING Circuit breaker opened: provider 'main', model 'up', no requests for 5 s."]


def test_each_fault_of_a_configuration_is_a_line_that_says_what_it_leads_to(lines: list[str]) -> None:
    faults = (
        Fault("provider", "a", "weight", "one"),
        Fault("provider", "b", "weight", "two"),
        Fault("model", "m", "fallbacks", "three"),
        Fault("credential", "c", "key", "four"),
    )
    ReloadLog().refused(ConfigRejection(version=3, faults=faults, kept=("provider 'b'",), at=0))
    begin = "ERROR Configuration version 3 is in force except for a faulty row, which "
    assert lines == [
        begin + "is left out: provider 'a': one.",
        begin + "stays as it was: provider 'b': two.",
        begin + "has the default there: model 'm': three.",
        begin + "is refused: credential 'c': four.",
    ]


def test_a_load_that_keeps_failing_for_one_reason_is_logged_once(lines: list[str]) -> None:
    log = ReloadLog()
    for reason in ("the database is down", "the database is down", "another", "the database is down"):
        log.failed(reason)
    assert lines == [
        "WARNING Could not load the configuration; the current one stays in force: the database is down",
        "WARNING Could not load the configuration; the current one stays in force: another",
        "WARNING Could not load the configuration; the current one stays in force: the database is down",
    ]


def test_a_provider_test_logs_its_result(lines: list[str]) -> None:
    succeeded: list[bool] = []
    log = TrialLog(lambda: succeeded.append(True))
    log.tested(ProviderTest(provider="main", ok=True, latency_ms=12.5, model="up"))
    log.tested(ProviderTest(provider="main", ok=False, latency_ms=1.0, error="status 500"))
    assert lines == [
        "INFO Test of provider 'main' with model 'up': ok in 12.5 ms, tokens: unknown.",
        "WARNING Test of provider 'main' with model None failed: status 500",
    ]
    assert succeeded == [True]


def test_a_refused_account_is_an_error_that_says_what_to_check(lines: list[str]) -> None:
    AttemptLog().attempt_failed(failed(reason="account", status=400, detail="status 400: refused"))
    (line,) = lines
    assert line.startswith(
        "ERROR Provider 'main' refuses the gateway's account (status 400: refused): check its credit"
    )
