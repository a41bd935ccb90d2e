"""Exports spans by OTLP over HTTP from a thread; a collector that is slow or away never holds up a request."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections.abc import Sequence
from typing import Final, Literal

from loguru import logger
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

from llm_gateway import __version__
from llm_gateway.infra.tracing.attribute_names import SCHEMA_URL
from llm_gateway.infra.tracing.span_tracer import SpanTracer

_NAME: Final = "llm-gateway"
# These log every failed export, with the collector's URL, every dropped span, and headers that are malformed.
_NOISY: Final = ("opentelemetry.exporter", "opentelemetry.sdk._shared_internal", "opentelemetry.util.re")


class ReportingExporter(SpanExporter):
    """Passes spans to another exporter, and logs once when it fails and once when it works again."""

    def __init__(self, inner: SpanExporter) -> None:
        self._inner = inner
        self._is_failing = False

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        try:
            result = self._inner.export(spans)
        except Exception:  # noqa: BLE001 - whatever it is, the next batch may fare better
            result = SpanExportResult.FAILURE
        is_failing = result is not SpanExportResult.SUCCESS
        if is_failing and not self._is_failing:
            logger.warning(
                "Traces do not reach the collector and are dropped until they do. Check OTEL_EXPORTER_OTLP_ENDPOINT "
                "and OTEL_EXPORTER_OTLP_HEADERS."
            )
        elif self._is_failing and not is_failing:
            logger.info("Traces reach the collector again.")
        self._is_failing = is_failing
        return result

    def shutdown(self) -> None:
        self._inner.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return self._inner.force_flush(timeout_millis)


class TraceExporter:
    """A tracer whose spans are exported; the SDK reads where to, and which, from the environment.

    Create it in the process that serves: its thread does not survive a fork.
    """

    def __init__(
        self,
        *,
        parents: Literal["parent", "link"] = "parent",
        shows_prompts: bool = False,
        exporter: SpanExporter | None = None,
    ) -> None:
        """`exporter` replaces the one of the environment."""
        for name in _NOISY:
            logging.getLogger(name).setLevel(logging.CRITICAL + 1)
        # Not at the exit of the process: that would wait for the collector.
        self._provider = TracerProvider(resource=_resource(), shutdown_on_exit=False)
        self._provider.add_span_processor(
            BatchSpanProcessor(ReportingExporter(exporter or OTLPSpanExporter()))
        )
        spans = self._provider.get_tracer(_NAME, __version__, schema_url=SCHEMA_URL)
        self.tracer = SpanTracer(spans, links_parents=parents == "link", shows_prompts=shows_prompts)

    async def close(self, timeout: float) -> None:
        """Export the remaining spans, for at most `timeout` seconds; what is left then is dropped."""
        loop = asyncio.get_running_loop()
        done: asyncio.Future[None] = loop.create_future()

        def finish() -> None:
            if not done.done():
                done.set_result(None)

        def work() -> None:
            self._provider.shutdown()
            try:
                loop.call_soon_threadsafe(finish)
            except RuntimeError:
                # The loop is closed: nobody waits any more.
                pass

        # A daemon, unlike an executor's thread: the process does not wait for it.
        threading.Thread(target=work, name="trace-export-end", daemon=True).start()
        await asyncio.wait({done}, timeout=timeout)


def _resource() -> Resource:
    """Return what the spans say of this program; OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES take precedence."""
    own = Resource({SERVICE_NAME: _NAME, SERVICE_VERSION: __version__, "process.pid": os.getpid()})
    stated = Resource.create()
    if str(stated.attributes.get(SERVICE_NAME, "")).startswith("unknown_service"):
        return stated.merge(own)
    return own.merge(stated)
