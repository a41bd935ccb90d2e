"""Turns tracing on if the settings say so; without it, nothing of OpenTelemetry is imported."""

from __future__ import annotations

import os
from contextlib import AsyncExitStack
from typing import Final

import msgspec

from llm_gateway.flow.ports.ledger import Journal, Observer, Tracer
from llm_gateway.infra.startup_error import StartupError
from llm_gateway.settings import Settings
from llm_gateway.settings.reading import setting_names
from llm_gateway.settings.variables import named_variables

# Seconds that the last spans get at shutdown.
_CLOSE_TIMEOUT: Final = 2.0


class Tracing(msgspec.Struct, frozen=True):
    """What a gateway needs in order to trace, or not to."""

    journal: Journal
    observers: tuple[Observer, ...] = ()
    tracer: Tracer | None = None


def trace(settings: Settings, journal: Journal, stack: AsyncExitStack) -> Tracing:
    """Return the journal as it is, or with a tracer that `stack` closes; raise StartupError without the extra."""
    if settings.otel_traces == "off":
        return Tracing(journal)
    ours = setting_names(Settings)
    for name, value in named_variables(settings).items():
        # The SDK reads the environment alone, and settings may stand in .env as well.
        if name.startswith("OTEL_") and name.lower() not in ours:
            os.environ.setdefault(name, value)
    try:
        from llm_gateway.infra.tracing.exporting import TraceExporter  # noqa: PLC0415 - optional
        from llm_gateway.infra.tracing.span_tracer import TracedJournal  # noqa: PLC0415 - optional
    except ModuleNotFoundError as error:
        raise StartupError(
            f"OTEL_TRACES=on needs the package {error.name}: install the extra, pip install 'llm-gateway[otel]'"
        ) from None
    try:
        export = TraceExporter(parents=settings.otel_trace_parent, shows_prompts=settings.otel_prompts)
    except ValueError as error:
        # Of numbers that do not fit together; the SDK's own message names no secret.
        raise StartupError(f"OTEL_TRACES=on: OpenTelemetry's SDK refuses its settings: {error}") from None
    stack.push_async_callback(export.close, _CLOSE_TIMEOUT)
    return Tracing(TracedJournal(journal, export.tracer), (export.tracer,), export.tracer)
