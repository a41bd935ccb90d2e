"""Reads and writes the trace headers of HTTP: `traceparent` and `tracestate`, as the W3C defines them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from opentelemetry.context import Context
from opentelemetry.trace import SpanContext, get_current_span
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

_PARENT: Final = "traceparent"
_STATE: Final = "tracestate"
_NAMES: Final = frozenset({_PARENT.encode(), _STATE.encode()})
_propagator: Final = TraceContextTextMapPropagator()


def read_parent(headers: Sequence[tuple[bytes, bytes]]) -> SpanContext | None:
    """Return the span that a request's headers name; None if they name none, or are not valid."""
    found: dict[str, list[str]] = {}
    for name, value in headers:
        if name in _NAMES:
            found.setdefault(name.decode(), []).append(value.decode("latin-1").strip())
    # A header of two values says nothing; a list of states may come in parts.
    if len(found.get(_PARENT, ())) != 1:
        return None
    carrier = {name: ",".join(values) for name, values in found.items()}
    span = get_current_span(_propagator.extract(carrier, Context())).get_span_context()
    return span if span.is_valid else None


def with_parent(headers: Mapping[str, str], span: SpanContext) -> Mapping[str, str]:
    """Return the headers with `span` as the parent, and its state; without a parent if the SDK is disabled."""
    others = {name: value for name, value in headers.items() if name not in {_PARENT, _STATE}}
    if not span.is_valid:
        return others
    others[_PARENT] = f"00-{span.trace_id:032x}-{span.span_id:016x}-{int(span.trace_flags) & 1:02x}"
    if span.trace_state:
        others[_STATE] = span.trace_state.to_header()
    return others
