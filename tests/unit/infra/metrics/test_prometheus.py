"""Labels and values: configured models always, those of a wildcard provider after a reply, junk never."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from llm_gateway.core import metric_catalogue
from llm_gateway.core.ledger.priced import PricedUsage
from llm_gateway.core.ledger.records import AttemptEnded, UsageRecord
from llm_gateway.flow.ports.cache import CacheResult
from llm_gateway.infra.metrics.prometheus import Metrics
from tests.fakes.usage_records import served


@pytest.fixture
def metrics(monkeypatch: pytest.MonkeyPatch) -> Metrics:
    monkeypatch.delenv("LLM_GATEWAY_METRICS_DIRECTORY", raising=False)
    return Metrics(lambda model: model == "listed", lambda: {"a", "b"})


def record(model: str | None, status: int = 200, **changes: Any) -> UsageRecord:
    values: dict[str, Any] = {
        "request_id": "r",
        "created_at": 0,
        "endpoint": "/v1/chat/completions",
        "method": "POST",
        "stream": False,
        "status_code": status,
        "outcome": "ok" if status == 200 else "error",
        "provider": "a",
        "model": model,
        **changes,
    }
    return UsageRecord(**values)


def models(metrics: Metrics) -> set[str]:
    return {
        sample.labels["model"]
        for family in metrics.registry.collect()
        for sample in family.samples
        if sample.name == "llm_proxy_requests_total"
    }


def test_configured_names_are_labels_whatever_came_of_the_request(metrics: Metrics) -> None:
    metrics.finished(record("listed", 500))
    metrics.finished(record(None, 401, provider=None))
    assert models(metrics) == {"listed", "none"}


def test_junk_names_share_one_label(metrics: Metrics) -> None:
    for number in range(1000):
        metrics.finished(record(f"junk-{number}", 404, provider=None))
    assert models(metrics) == {"other"}


def test_a_wildcard_providers_names_are_labels_after_a_2xx_and_100_at_most(metrics: Metrics) -> None:
    for number in range(150):
        metrics.finished(record(f"wild-{number}"))
    metrics.finished(record("wild-0", 500))
    names = models(metrics)
    assert len(names) == 101
    assert "other" in names
    assert "wild-0" in names


def test_s4_53_tokens_are_counted_by_type(metrics: Metrics) -> None:
    tokens = {"prompt_tokens": 10, "completion_tokens": 5, "cached_tokens": 4, "reasoning_tokens": 2}
    metrics.finished(record("listed", **tokens))
    text = metrics.render({metric_catalogue.CONFIG_VERSION: 3}).decode()
    for kind, count in (("prompt", 10), ("completion", 5), ("cached", 4), ("reasoning", 2)):
        assert f'llm_proxy_tokens_total{{model="listed",provider="a",token_type="{kind}"}} {count}.0' in text
    assert "\nllm_gateway_config_version 3.0\n" in text


@pytest.mark.parametrize(
    ("reason", "status", "healthy"),
    [
        ("connect", None, 0.0),
        ("status", 401, 0.0),
        ("status", 500, 0.0),
        ("status", 400, 1.0),
        ("status", 429, 1.0),
    ],
)
def test_s4_54_health_follows_what_providers_answer(
    metrics: Metrics, reason: str, status: int | None, healthy: float
) -> None:
    metrics.finished(record("listed"))
    metrics.attempt_failed(
        AttemptEnded(
            request_id="r",
            attempt=1,
            started_at=1,
            outcome="error",
            provider="a",
            model="listed",
            upstream_model="up",
            reason=reason,
            status=status,
            detail="x",
        )
    )
    assert metrics.registry.get_sample_value("llm_proxy_provider_health", {"provider": "a"}) == healthy


def test_a_reply_from_the_cache_says_nothing_of_its_provider(metrics: Metrics) -> None:
    metrics.finished(record("listed", cache_hit=True, prompt_tokens=10, completion_tokens=5, ttft_ms=1.0))
    text = metrics.render({}).decode()
    assert 'model="listed",provider="none",status_code="200"} 1.0' in text
    assert 'provider="a"' not in text
    for series in (
        "llm_proxy_tokens_total",
        "llm_proxy_provider_latency_seconds_count",
        "llm_gateway_time_to_first_token_seconds_count",
    ):
        counts = [line.rsplit(" ", 1)[1] for line in text.splitlines() if line.startswith(series + "{")]
        assert set(counts) <= {"0.0"}, series


def test_cache_results_are_counted(metrics: Metrics) -> None:
    results: tuple[tuple[CacheResult, int], ...] = (("hit", 3), ("miss", 2), ("bypass", 1))
    for result, count in results:
        for _ in range(count):
            metrics.cache_answered(result)
    metrics.cache_failed()
    text = metrics.render({}).decode()
    for result, count in results:
        assert f'llm_gateway_cache_requests_total{{result="{result}"}} {count}.0' in text
    assert "llm_gateway_cache_failures_total 1.0" in text


def test_recovery_steps_are_counted(metrics: Metrics) -> None:
    for step in ("failover", "retry", "retry", "over_budget"):
        metrics.attempt_failed(
            AttemptEnded(
                request_id="r",
                attempt=1,
                started_at=1,
                outcome="error",
                provider="a",
                model="listed",
                upstream_model="up",
                reason="cut",
                status=None,
                detail="x",
                next_step=step,
            )
        )
    read = metrics.registry.get_sample_value
    counts = {
        step: read("llm_gateway_recovery_steps_total", {"provider": "a", "step": step})
        for step in ("failover", "retry", "over_budget")
    }
    assert counts == {"failover": 1, "retry": 2, "over_budget": 1}


def test_open_breakers_are_shown_until_they_close(metrics: Metrics) -> None:
    def shown(provider: str) -> float | None:
        return metrics.registry.get_sample_value("llm_gateway_open_breakers", {"provider": provider})

    metrics.breaker_opened("a")
    metrics.set_open_breakers({"a": 2, "b": 1})
    assert (shown("a"), shown("b")) == (2, 1)
    metrics.set_open_breakers({"b": 3})
    assert (shown("a"), shown("b")) == (0, 3)
    openings = metrics.registry.get_sample_value("llm_gateway_breaker_openings_total", {"provider": "a"})
    assert openings == 1


def test_only_new_losses_of_records_are_added(metrics: Metrics) -> None:
    metrics.set_record_losses(2, 1)
    metrics.set_record_losses(5, 1)
    read = metrics.registry.get_sample_value
    assert read(metric_catalogue.LOST_RECORDS.name) == 5
    assert read(metric_catalogue.REJECTED_RECORDS.name) == 1


def test_gauges_of_providers_that_are_not_enabled_are_not_shown(metrics: Metrics) -> None:
    for provider in ("a", "gone"):
        metrics.finished(record("listed", provider=provider))
        metrics.set_open_breakers({provider: 1})
    text = metrics.render({}).decode()
    assert 'llm_proxy_provider_health{provider="a"} 1.0' in text
    assert 'llm_proxy_provider_health{provider="gone"}' not in text
    assert 'llm_gateway_open_breakers{provider="gone"}' not in text


def test_a_broken_file_of_another_worker_is_skipped_and_counted(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("LLM_GATEWAY_METRICS_DIRECTORY", str(tmp_path))
    metrics = Metrics(lambda _: True, lambda: {"a"})
    metrics.finished(record("listed"))
    for number, name in enumerate(("counters", "events", "gauges", "live")):
        (tmp_path / f"{name}-1-1").write_bytes(b"\xff" * 99 * number)
    text = metrics.render({}).decode()
    assert "llm_gateway_unreadable_metrics_files 4.0" in text
    assert 'model="listed",provider="a",status_code="200"} 1.0' in text


def test_a_folder_that_cannot_be_written_costs_no_metric_of_this_worker(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("LLM_GATEWAY_METRICS_DIRECTORY", str(tmp_path / "removed"))
    metrics = Metrics(lambda _: True, lambda: {"a"})
    metrics.finished(record("listed"))
    metrics.cache_failed()
    metrics.set_open_breakers({"a": 1})
    metrics.configuration_changed()
    text = metrics.render({}).decode()
    assert 'model="listed",provider="a",status_code="200"} 1.0' in text
    assert "llm_gateway_cache_failures_total 1.0" in text
    assert 'llm_proxy_provider_health{provider="a"} 1.0' in text


def test_dropped_lines_are_counted_once(metrics: Metrics) -> None:
    metrics.set_dropped_log_lines(2)
    metrics.set_dropped_log_lines(5)
    metrics.set_dropped_log_lines(5)
    assert metrics.registry.get_sample_value(metric_catalogue.DROPPED_LOG_LINES.name) == 5


def test_a_served_request_that_cannot_be_counted_hides_none_behind_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    metrics = Metrics(lambda _: True, lambda: ["main"])
    good = served("good")
    bad = msgspec.structs.replace(
        served("bad"), cost_nano_usd=None, cost=PricedUsage(None, "none", "a reason of the future")
    )
    metrics.served([good, bad, good])
    assert "failed on request bad" in caplog.text
    labels = {"model": "gpt-4o", "provider": "main"}
    assert metrics.registry.get_sample_value(metric_catalogue.COST.name, labels) == pytest.approx(840e-9)


def test_served_requests_count_for_the_tenant_that_their_credential_belongs_to_now() -> None:
    tenants: dict[str, str | None] = {"team": "one"}
    metrics = Metrics(lambda _: True, lambda: ["main"], credentials=lambda: tenants)
    request = served("a")
    metrics.served([request])
    tenants["team"] = "two"
    metrics.configuration_changed()
    metrics.served([request, request])
    labels = {"credential": "team", "tenant": "two", "outcome": "ok"}
    assert metrics.registry.get_sample_value(metric_catalogue.CREDENTIAL_REQUESTS.name, labels) == 2
