"""Spans of requests that went through the whole flow: each attempt once, with what the journal says it used."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind

from llm_gateway.core.errors import GatewayError
from llm_gateway.flow.request.pipeline import handle
from llm_gateway.infra.tracing import attribute_names as names
from llm_gateway.infra.tracing.span_tracer import SpanTracer, TracedJournal
from tests.fakes.chat_requests import CUT, HELLO, ROLE, ask, ask_stream, read, stream, whole
from tests.fakes.in_memory import Answer, FakeGateway, FakeReply, ScriptedUpstream, provider
from tests.fakes.usage_records import failed_attempt, record

BILLED = b'{"error":{"message":"m","type":"server_error"},"usage":{"prompt_tokens":7,"completion_tokens":2}}'
USAGE = (names.INPUT_TOKENS, names.OUTPUT_TOKENS)


class TracedGateway(FakeGateway):
    """A gateway of fakes whose spans are kept."""

    def __init__(self, **answers: Answer | list[Answer]) -> None:
        rows = [provider(key, number) for number, key in enumerate(answers, 1)]
        super().__init__(*rows, upstream=ScriptedUpstream(**answers))
        self.exporter = InMemorySpanExporter()
        made = TracerProvider(shutdown_on_exit=False)
        made.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.tracer = SpanTracer(made.get_tracer("test"))
        self.gateway = replace(
            self.gateway,
            tracer=self.tracer,
            journal=TracedJournal(self.recorder, self.tracer),
            observers=(self.recorder, self.tracer),
        )

    def spans(self) -> tuple[ReadableSpan, list[ReadableSpan]]:
        """Return the request's span and those of its attempts, all of which have ended."""
        ended = self.exporter.get_finished_spans()
        [server] = [span for span in ended if span.kind is SpanKind.SERVER]
        clients = [span for span in ended if span.kind is SpanKind.CLIENT]
        assert len(clients) == len(ended) - 1
        assert self.tracer._open == {}
        return server, sorted(clients, key=lambda span: said(span)[names.ATTEMPT])


def said(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


async def test_a_failover_has_a_span_for_each_attempt() -> None:
    bench = TracedGateway(
        a=[FakeReply(b"{}", status=500)] * 3, b=[FakeReply(BILLED)] * 3, c=[whole(), whole(), whole()]
    )
    while len(bench.upstream.hosts) < 3:
        bench.exporter.clear()
        bench.recorder.__init__()  # type: ignore[misc]
        bench.upstream.hosts.clear()
        await ask(bench)
    server, clients = bench.spans()
    assert [said(span)[names.ATTEMPT] for span in clients] == [1, 2, 3]
    assert {said(span)[names.PROVIDER_KEY]: span.status.is_ok for span in clients} == {
        "a": False, "b": False, "c": True,
    }  # fmt: skip
    used = {said(span)[names.PROVIDER_KEY]: tuple(map(said(span).get, USAGE)) for span in clients}
    last = bench.recorder.record
    assert used == {"a": (None, None), "b": (7, 2), "c": (last.prompt_tokens, last.completion_tokens)}
    assert not set(USAGE) & said(server).keys()
    assert server.status.is_ok
    # Each of them was sent as the parent of what the provider does.
    sent = [request.headers["traceparent"].split("-")[2] for request in bench.upstream.requests[-3:]]
    assert sent == [f"{span.context.span_id:016x}" for span in clients if span.context]


async def test_a_refusal_that_no_observer_is_told_of_is_a_span() -> None:
    bench = TracedGateway(a=FakeReply(b'{"error":{"message":"no","type":"x"}}', status=400))
    with pytest.raises(GatewayError):
        await ask(bench)
    server, [client] = bench.spans()
    assert said(client)[names.STATUS] == 400
    assert not client.status.is_ok
    assert server.status.is_ok


async def test_a_stream_that_is_cut_after_its_commit() -> None:
    bench = TracedGateway(a=stream(ROLE, HELLO, CUT))
    await ask_stream(bench)
    server, [client] = bench.spans()
    assert not client.status.is_ok
    assert not server.status.is_ok
    assert names.FIRST_CHUNK in said(client)
    assert names.FIRST_TOKEN in said(server)
    assert said(client)[names.OUTPUT_TOKENS] == bench.recorder.record.completion_tokens


async def test_a_request_without_an_attempt() -> None:
    bench = TracedGateway(a=whole())
    with pytest.raises(GatewayError):
        await handle(bench.gateway, bench.call(api_key="wrong"), read())
    server, clients = bench.spans()
    assert clients == []
    assert said(server)[names.STATUS] == 401


async def test_times_are_those_of_the_ledger() -> None:
    bench = TracedGateway(a=FakeReply(b"{}", status=400))
    with pytest.raises(GatewayError):
        await ask(bench)
    server, [client] = bench.spans()
    assert server.start_time == bench.recorder.record.created_at * 1000
    assert client.start_time == bench.recorder.ended_attempts[0].started_at * 1000


def test_facts_of_requests_that_are_not_open_are_left_out() -> None:
    bench = TracedGateway()
    bench.tracer.attempt_ended(failed_attempt("unknown"))
    bench.tracer.finished(record("unknown"))
    assert bench.exporter.get_finished_spans() == ()


def test_an_attempt_that_was_never_sent_has_a_span() -> None:
    bench = TracedGateway()
    bench.tracer.begin("r", "POST", "/v1/chat/completions", 1_750_000_000_000_000, ())
    bench.tracer.attempt_ended(failed_attempt("r"))
    bench.tracer.finished(record("r"))
    _, [client] = bench.spans()
    assert said(client)[names.PROVIDER_KEY] == "main"


def test_a_tracer_that_fails_fails_no_request(caplog: pytest.LogCaptureFixture) -> None:
    bench = TracedGateway()
    bench.tracer.begin("r", "POST", "/", None, ())  # type: ignore[arg-type]
    forwarded = {"x-request-id": "r"}
    assert bench.tracer.attempt("r", 1, 0, None, None, forwarded) == forwarded  # type: ignore[arg-type]
    bench.tracer.begin("r", "POST", "/", 1, ())
    assert bench.tracer.attempt("r", 1, 0, None, None, forwarded) == forwarded  # type: ignore[arg-type]
    assert [entry.getMessage() for entry in caplog.records] == [
        "SpanTracer._begin failed", "SpanTracer.attempt failed",
    ]  # fmt: skip
