"""Tracing is off unless it is asked for, and says what it needs."""

from __future__ import annotations

import os
import sys
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from llm_gateway.app.tracing import trace
from llm_gateway.cli.settings_loader import load_settings
from llm_gateway.infra.startup_error import StartupError
from llm_gateway.infra.tracing.span_tracer import SpanTracer
from llm_gateway.settings import Settings
from tests.fakes.in_memory import Recorder


async def test_off_changes_nothing() -> None:
    journal = Recorder()
    async with AsyncExitStack() as stack:
        tracing = trace(Settings(), journal, stack)
    assert tracing.journal is journal
    assert (tracing.observers, tracing.tracer) == ((), None)


async def test_on_watches_the_journal_and_reads_the_variables_of_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    # So that they are undone afterwards.
    for name in ("OTEL_SERVICE_NAME", "OTEL_EXPORTER_OTLP_ENDPOINT"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    (tmp_path / ".env").write_text("OTEL_TRACES=on\nOTEL_SERVICE_NAME=mine\n")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    async with AsyncExitStack() as stack:
        tracing = trace(load_settings(), Recorder(), stack)
        assert isinstance(tracing.tracer, SpanTracer)
        assert tracing.observers == (tracing.tracer,)
    assert os.environ["OTEL_SERVICE_NAME"] == "mine"
    assert "OTEL_TRACES" not in os.environ


async def test_numbers_that_do_not_fit_together_stop_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "8")
    async with AsyncExitStack() as stack:
        with pytest.raises(StartupError, match="refuses its settings"):
            trace(Settings(otel_traces="on"), Recorder(), stack)


async def test_without_the_extra_a_start_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "llm_gateway.infra.tracing.exporting", raising=False)
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    async with AsyncExitStack() as stack:
        with pytest.raises(StartupError, match=r"pip install 'llm-gateway\[otel\]'"):
            trace(Settings(otel_traces="on"), Recorder(), stack)
