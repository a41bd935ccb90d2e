"""A collector that fails, or does not answer, costs spans, one line of the log, and no time."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Sequence

import pytest
from loguru import logger
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from llm_gateway.infra.tracing.exporting import ReportingExporter, TraceExporter
from tests.fakes.usage_records import record

FAILURE, SUCCESS = SpanExportResult.FAILURE, SpanExportResult.SUCCESS


class ScriptedExporter(SpanExporter):
    def __init__(self, *results: SpanExportResult | Exception, gate: threading.Event | None = None) -> None:
        self.results = list(results)
        self.spans: list[ReadableSpan] = []
        self.gate = gate

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        if self.gate is not None:
            self.gate.wait(30)
        self.spans += spans
        result = self.results.pop(0) if self.results else SUCCESS
        if isinstance(result, Exception):
            raise result
        return result

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return True


@pytest.fixture
def log() -> Iterator[list[str]]:
    lines: list[str] = []
    number = logger.add(lines.append, format="{level} {message}")
    yield lines
    logger.remove(number)


def test_a_failure_is_logged_once_and_so_is_its_end(log: list[str]) -> None:
    exporter = ReportingExporter(
        ScriptedExporter(SUCCESS, FAILURE, ValueError("http://u:hush@h"), FAILURE, SUCCESS, SUCCESS, FAILURE)
    )
    results = [exporter.export(()) for _ in range(7)]
    assert results == [SUCCESS, FAILURE, FAILURE, FAILURE, SUCCESS, SUCCESS, FAILURE]
    assert [line.split()[0] for line in log] == ["WARNING", "INFO", "WARNING"]
    assert "hush" not in "".join(log)
    assert exporter.force_flush()
    exporter.shutdown()


async def test_the_last_spans_are_exported_at_the_end() -> None:
    inner = ScriptedExporter()
    export = TraceExporter(exporter=inner)
    export.tracer.begin("r", "POST", "/v1/chat/completions", 1, ())
    export.tracer.finished(record("r", attempts=0))
    await export.close(10)
    [span] = inner.spans
    assert span.resource.attributes["service.name"] == "llm-gateway"


async def test_the_end_does_not_wait_for_a_collector(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_SERVICE_NAME", "mine")
    gate = threading.Event()
    inner = ScriptedExporter(gate=gate)
    export = TraceExporter(parents="link", exporter=inner)
    export.tracer.begin("r", "POST", "/v1/chat/completions", 1, ())
    export.tracer.finished(record("r", attempts=0))
    await export.close(0.05)
    assert inner.spans == []
    gate.set()
    for thread in threading.enumerate():
        if thread.name == "trace-export-end":
            thread.join(10)
    assert [span.resource.attributes["service.name"] for span in inner.spans] == ["mine"]


def test_the_sdk_is_not_heard() -> None:
    TraceExporter(exporter=ScriptedExporter())
    for name in ("opentelemetry.exporter.otlp.common.http", "opentelemetry.sdk._shared_internal"):
        assert not logging.getLogger(name).isEnabledFor(logging.CRITICAL)
