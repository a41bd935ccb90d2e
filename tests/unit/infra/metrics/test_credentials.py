"""Requests and costs are counted by credential, for those that the configuration has."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry

from llm_gateway.core.ledger.records import UsageRecord
from llm_gateway.infra.metrics.credentials import CredentialMetrics
from llm_gateway.infra.metrics.prometheus import Metrics
from llm_gateway.infra.metrics.requests import NONE, RequestMetrics, count
from tests.fakes.usage_records import record

REQUESTS, COST = "llm_gateway_credential_requests_total", "llm_gateway_credential_cost_usd_total"


class Desk:
    """The metrics of one process."""

    def __init__(self, known: dict[str, str | None], directory: Path | None = None) -> None:
        self.known = known
        self.metrics = CredentialMetrics(lambda: self.known, directory)
        self.registry = CollectorRegistry()
        self.registry.register(self.metrics)

    def count(self, credential: str | None, outcome: str = "ok", **fields: Any) -> None:
        values: dict[str, Any] = {
            "request_id": "r",
            "created_at": 0,
            "endpoint": "/v1",
            "method": "POST",
            "stream": False,
        }
        values |= {"status_code": 200, "outcome": outcome, "credential": credential}
        cells = RequestMetrics(None).cells("POST", "/v1", "m", NONE, 200)
        count(cells, self.metrics.cells(credential), UsageRecord(**values, **fields), None)

    def value(self, name: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(name, labels)


def test_requests_by_outcome_and_costs_add_up() -> None:
    desk = Desk({"a": "acme", "b": None})
    desk.count("a", cost_nano_usd=420_000)
    desk.count("a", cost_nano_usd=580_000)
    desk.count("a", "rejected")
    desk.count("b")
    assert desk.value(REQUESTS, credential="a", tenant="acme", outcome="ok") == 2
    assert desk.value(REQUESTS, credential="a", tenant="acme", outcome="rejected") == 1
    assert desk.value(REQUESTS, credential="a", tenant="acme", outcome="error") is None
    assert desk.value(COST, credential="a", tenant="acme") == 0.001
    assert desk.value(REQUESTS, credential="b", tenant="none", outcome="ok") == 1
    assert desk.value(COST, credential="b", tenant="none") is None


def test_nobody_and_strangers_are_not_counted() -> None:
    desk = Desk({"a": None})
    desk.count(None, "rejected")
    desk.count("stranger")
    assert [sample for family in desk.registry.collect() for sample in family.samples] == []


def test_a_credential_that_is_deleted_or_moved_has_no_series_left() -> None:
    desk = Desk({"a": "acme", "b": None})
    desk.count("a")
    desk.count("b")
    desk.known = {"a": "other"}
    assert desk.value(REQUESTS, credential="b", tenant="none", outcome="ok") is None
    assert desk.value(REQUESTS, credential="a", tenant="acme", outcome="ok") is None
    desk.count("a")
    desk.count("b")
    assert desk.value(REQUESTS, credential="a", tenant="other", outcome="ok") == 1


def test_a_change_of_the_configuration_reaches_what_was_counted_before() -> None:
    known: dict[str, str | None] = {"a": "acme"}
    metrics = Metrics(lambda _: True, frozenset, credentials=lambda: known)

    def finish() -> None:
        for name in ("a", "b"):
            metrics.finished(record("r", credential=name))

    def value(**labels: str) -> float | None:
        return metrics.registry.get_sample_value(REQUESTS, {**labels, "outcome": "ok"})

    finish()
    # A credential counts as soon as it is there, and elsewhere as soon as the change is known.
    known["b"] = None
    finish()
    assert value(credential="a", tenant="acme") == 2
    assert value(credential="b", tenant="none") == 1
    known["a"] = "other"
    metrics.configuration_changed()
    finish()
    assert value(credential="a", tenant="acme") is None
    assert value(credential="a", tenant="other") == 1
    assert value(credential="b", tenant="none") == 2
    del known["a"]
    metrics.configuration_changed()
    finish()
    assert value(credential="a", tenant="other") is None
    assert value(credential="b", tenant="none") == 3


def test_workers_add_up(tmp_path: Path) -> None:
    first, second = Desk({"a": None}, tmp_path), Desk({"a": None}, tmp_path)
    first.count("a", cost_nano_usd=1_000_000_000)
    second.count("a", cost_nano_usd=2_000_000_000)
    assert second.value(REQUESTS, credential="a", tenant="none", outcome="ok") == 2
    assert first.value(COST, credential="a", tenant="none") == 3
    assert first.metrics.unreadable == 0
