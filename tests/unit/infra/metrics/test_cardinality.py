"""A million requests with names that clients make up leave the number of series where it was."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from llm_gateway.core import metric_catalogue as catalogue
from llm_gateway.core.ledger.records import AttemptEnded, UsageRecord
from llm_gateway.infra.metrics.prometheus import Metrics

REQUESTS = 1_000_000
# Where the workers share their metrics, a series takes room in a file.
DIRECTORY = "LLM_GATEWAY_METRICS_DIRECTORY"


def record(number: int, model: str | None, status: int, provider: str | None) -> UsageRecord:
    return UsageRecord(
        request_id=f"r{number}",
        created_at=number,
        endpoint="/v1/chat/completions",
        method="POST",
        stream=False,
        status_code=status,
        outcome="ok" if status == 200 else "rejected",
        provider=provider,
        model=model,
        credential=f"key-{number}",
        prompt_tokens=3 if status == 200 else None,
        latency_ms=number % 1000,
    )


def lines(metrics: Metrics) -> list[str]:
    return [line for line in metrics.render({}).decode().splitlines() if not line.startswith("#")]


def test_a_million_requests_with_made_up_names_add_no_series(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(DIRECTORY, str(tmp_path))
    metrics = Metrics(lambda model: model == "known", lambda: {"p", "wild"})
    # One of each, and all the names that a wildcard provider may add.
    metrics.finished(record(0, "known", 200, "p"))
    for number in range(200):
        metrics.finished(record(number, f"wild-{number}", 200, "wild"))
    for model, status in (("x", 404), ("x", 401), (None, 401), ("x", 429)):
        metrics.finished(record(0, model, status, None))
    before, size = len(lines(metrics)), sum(path.stat().st_size for path in tmp_path.iterdir())

    names = random.Random(7)
    finished = metrics.finished
    cases = ((404, None), (401, None), (429, None), (200, "wild"))
    for number in range(REQUESTS):
        status, provider = cases[number & 3]
        finished(record(number, f"{names.getrandbits(64):x}", status, provider))

    assert len(lines(metrics)) == before
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) == size
    total = sum(
        sample.value
        for family in metrics.registry.collect()
        for sample in family.samples
        if sample.name == catalogue.REQUESTS.name
    )
    assert total == REQUESTS + 205


def test_what_is_gone_from_the_catalog_is_not_shown_and_goes_on_when_it_is_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv(DIRECTORY, raising=False)
    providers, models = {"p", "q"}, {"m", "n"}
    metrics = Metrics(models.__contains__, lambda: providers, models.__contains__)
    for provider in ("p", "q"):
        for model in ("m", "n"):
            metrics.finished(record(0, model, 200, provider))
        metrics.attempt_failed(
            AttemptEnded(
                request_id="r",
                attempt=1,
                started_at=1,
                outcome="error",
                provider=provider,
                model="m",
                upstream_model="up",
                reason="connect",
                status=None,
                detail="x",
            )
        )
        metrics.breaker_opened(provider)
    metrics.finished(record(0, "n", 429, None))
    whole = lines(metrics)
    providers.remove("q")
    assert not any('"q"' in line for line in lines(metrics))
    models.remove("n")
    assert not any('"n"' in line for line in lines(metrics))
    assert any('"p"' in line and '"m"' in line for line in lines(metrics))
    providers.add("q")
    models.add("n")
    assert [line for line in lines(metrics) if "process" not in line] == [
        line for line in whole if "process" not in line
    ]
