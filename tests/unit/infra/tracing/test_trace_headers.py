"""Trace headers are read as the W3C defines them, and written with the parent that is ours."""

from __future__ import annotations

import pytest
from opentelemetry.trace import INVALID_SPAN_CONTEXT

from llm_gateway.infra.tracing.trace_headers import read_parent, with_parent

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
VALID = f"00-{TRACE}-{PARENT}-01".encode()


@pytest.mark.parametrize("flags", [b"00", b"01", b"03"])
def test_what_is_read_is_written(flags: bytes) -> None:
    span = read_parent(
        [(b"traceparent", VALID[:-2] + flags), (b"tracestate", b"a=1"), (b"tracestate", b"b=2")]
    )
    assert span is not None
    sampled = b"01" if flags != b"00" else b"00"
    assert with_parent({"x": "y", "traceparent": "old", "tracestate": "old"}, span) == {
        "x": "y", "traceparent": (VALID[:-2] + sampled).decode(), "tracestate": "a=1,b=2",
    }  # fmt: skip


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [(b"tracestate", b"a=1")],
        [(b"traceparent", VALID), (b"traceparent", VALID)],
        [(b"traceparent", b"\xff" * 55)],
        [(b"traceparent", VALID.replace(b"-", b"_"))],
        [(b"traceparent", VALID[:-2])],
    ],
)
def test_what_is_malformed_is_ignored(headers: list[tuple[bytes, bytes]]) -> None:
    assert read_parent(headers) is None


def test_a_malformed_state_does_not_spoil_the_parent() -> None:
    span = read_parent([(b"traceparent", VALID), (b"tracestate", b"\xff=,=")])
    assert span is not None
    assert not span.trace_state


def test_a_disabled_sdk_writes_no_parent() -> None:
    assert with_parent({"traceparent": "nonsense", "x": "y"}, INVALID_SPAN_CONTEXT) == {"x": "y"}
