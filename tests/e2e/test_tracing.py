"""Traces, as a collector gets them from a running gateway: each token and each cost once, and nothing secret."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import datetime
from decimal import Decimal
from typing import Any

import pytest

from tests.e2e.conftest import Desk, Launch
from tests.e2e.gateway_process import ADMIN_KEY, GatewayProcess, accepted, eventually
from tests.fakes.otlp_receiver import OtlpReceiver, otlp_receiver
from tests.fakes.script import Script, error_script
from tests.fakes.upstream import FakeUpstream
from tests.services import free_port

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
TRACEPARENT = f"00-{TRACE}-{PARENT}-01"
# A reply that is an error and states what it cost nevertheless.
BILLED_ERROR = (
    b'{"error":{"message":"overloaded","type":"server_error","code":null,"param":null},'
    b'"usage":{"prompt_tokens":7,"completion_tokens":2,"total_tokens":9}}'
)
TOKENS = {
    "prompt_tokens": "gen_ai.usage.input_tokens",
    "completion_tokens": "gen_ai.usage.output_tokens",
    "cached_tokens": "gen_ai.usage.cache_read.input_tokens",
    "reasoning_tokens": "gen_ai.usage.reasoning.output_tokens",
}
COST = "llm_gateway.cost.nano_usd"

Traced = Callable[..., Desk]


@pytest.fixture
def collector() -> Iterator[OtlpReceiver]:
    with otlp_receiver() as receiver:
        yield receiver


@pytest.fixture
def traced(launch: Launch, fake: FakeUpstream, collector: OtlpReceiver) -> Traced:
    """Start a gateway that exports to the collector."""

    def start(**settings: object) -> Desk:
        endpoint = f"http://127.0.0.1:{collector.port}"
        given = {"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint, "OTEL_BSP_SCHEDULE_DELAY": "50"} | settings
        return Desk(launch(OTEL_TRACES="on", **given), fake)

    return start


def ask(desk: Desk, headers: list[tuple[str, str]] | None = None, **fields: Any) -> str:
    """Send a chat, and return its request id."""
    key = ("authorization", f"Bearer {desk.key}")
    answer = desk.gateway.http.post(
        "/v1/chat/completions", headers=[key, *(headers or [])], json=desk.body(**fields)
    )
    return str(answer.headers["x-request-id"])


def attempts_of(gateway: GatewayProcess, request_id: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    row = accepted(gateway.admin.get(f"/usage/{request_id}"))
    return row, row["attempt_details"]


def total(facts: list[dict[str, Any]], name: str) -> int:
    return sum(fact.get(name) or 0 for fact in facts)


def nano_usd(row: dict[str, Any]) -> int:
    return int(Decimal(row["cost_usd"] or 0) * 10**9)


def set_price(desk: Desk, provider: str) -> None:
    prices = {"input_tokens": "2.5", "output_tokens": "10"}
    body = {"provider": provider, "upstream_model": desk.upstream_model, "prices": prices}
    accepted(desk.gateway.admin.post("/prices", json=body))


@pytest.mark.parametrize("stream", [False, True])
def test_a_trace_adds_up_to_the_ledger(traced: Traced, collector: OtlpReceiver, stream: bool) -> None:
    desk = traced(WORKERS=2, OTEL_SERVICE_NAME="gateway-of-a-test", OTEL_EXPORTER_OTLP_HEADERS="x-token=abc")
    broken = desk.failing(error_script(500), "broken")
    billed = desk.failing(Script(body=BILLED_ERROR, ignore_stream=True), "billed")
    good = desk.provider("good")
    for lane in (broken, billed, good):
        set_price(desk, lane.name)
    found = None
    for _ in range(12):
        request_id = ask(desk, [("traceparent", TRACEPARENT), ("tracestate", "a=1,b=2")], stream=stream)
        row, details = attempts_of(desk.gateway, request_id)
        server, clients = collector.trace_of(request_id)
        assert len(clients) == row["attempts"]
        for column, attribute in TOKENS.items():
            spans = [client.attributes for client in clients]
            assert total(spans, attribute) == total(details, column)
            assert attribute not in server.attributes
        assert (
            total([client.attributes for client in clients], COST)
            == nano_usd(row)
            == sum(map(nano_usd, details))
        )
        assert COST not in server.attributes
        if row["attempts"] == 3:
            found = server, clients, details
            break
    assert found is not None
    server, clients, details = found
    assert total(details, "prompt_tokens") == 16
    # The same trace, one below the other.
    assert {span.trace_id for span in (server, *clients)} == {TRACE}
    assert server.parent_id == PARENT
    assert {client.parent_id for client in clients} == {server.span_id}
    assert server.resource["service.name"] == "gateway-of-a-test"
    assert {*collector.paths} == {"/v1/traces"}
    assert collector.headers[0]["x-token"] == "abc"
    # Each provider was told of its own attempt.
    sent = {lane.name: lane.last for lane in (broken, billed, good)}
    for client, row in zip(clients, details, strict=True):
        call = sent[row["provider"]]
        assert [value for name, value in call.headers if name == "traceparent"] == [
            f"00-{TRACE}-{client.span_id}-01"
        ]
        assert call.header("tracestate") == "a=1,b=2"
        assert client.attributes["llm_gateway.provider"] == row["provider"]
        assert client.is_error is (row["outcome"] == "error")
        begun = round(datetime.fromisoformat(row["started_at"]).timestamp() * 1e6)
        assert abs(client.begun / 1000 - begun) < 2000
        assert server.begun <= client.begun <= client.ended
    assert ("gen_ai.response.time_to_first_chunk" in clients[-1].attributes) is stream
    assert ("llm_gateway.time_to_first_token" in server.attributes) is stream
    assert (server.name, server.is_error) == ("POST /v1/chat/completions", False)
    assert clients[-1].name == f"chat {desk.upstream_model}"


def test_nothing_secret_and_no_prompt_is_exported(traced: Traced, collector: OtlpReceiver) -> None:
    desk = traced(OTEL_SERVICE_NAME="x")
    lane = desk.provider()
    desk.failing(error_script(401), "unauthorised")
    for _ in range(4):
        collector.trace_of(ask(desk))
    ask(desk, model="none-such")
    desk.gateway.stop()
    for secret in (desk.key, ADMIN_KEY, "sk-upstream-secret", lane.base_url, "127.0.0.1:", "hello"):
        assert secret.encode() not in collector.raw
    assert desk.name.encode() in collector.raw
    assert desk.gateway.distress() == []


def test_prompts_are_exported_if_they_are_asked_for(traced: Traced, collector: OtlpReceiver) -> None:
    desk = traced(OTEL_PROMPTS="true")
    desk.provider()
    _, [client] = collector.trace_of(ask(desk))
    assert client.attributes["gen_ai.input.messages"] == (
        '[{"role":"user","parts":[{"type":"text","content":"hello"}]}]'
    )


def test_a_link_in_place_of_a_parent(traced: Traced, collector: OtlpReceiver) -> None:
    desk = traced(OTEL_TRACE_PARENT="link")
    lane = desk.provider()
    server, [client] = collector.trace_of(ask(desk, [("traceparent", TRACEPARENT), ("tracestate", "a=1")]))
    assert server.links == [(TRACE, PARENT)]
    assert server.trace_id == client.trace_id != TRACE
    assert server.parent_id == ""
    assert lane.last.header("traceparent") == f"00-{server.trace_id}-{client.span_id}-01"
    assert lane.last.header("tracestate") is None


def test_traceparents_as_the_w3c_wants_them_read(traced: Traced, collector: OtlpReceiver) -> None:
    desk = traced()
    lane = desk.provider()
    malformed = (
        "nonsense", "", TRACEPARENT.upper(), f"ff-{TRACE}-{PARENT}-01", f"00-{'0' * 32}-{PARENT}-01",
        f"00-{TRACE}-{'0' * 16}-01", f"00-{TRACE}-{PARENT}-01-more", f"00-{TRACE[:-1]}-{PARENT}-01",
    )  # fmt: skip
    for header in malformed:
        server, [client] = collector.trace_of(ask(desk, [("traceparent", header), ("tracestate", "a=1")]))
        assert (server.trace_id == TRACE, server.parent_id, server.links) == (False, "", [])
        assert lane.last.header("traceparent") == f"00-{client.trace_id}-{client.span_id}-01"
        assert lane.last.header("tracestate") is None
    server, _ = collector.trace_of(ask(desk, [("traceparent", TRACEPARENT)] * 2))
    assert server.trace_id != TRACE
    # A newer version may have more fields.
    server, _ = collector.trace_of(ask(desk, [("traceparent", f"01-{TRACE}-{PARENT}-01-more")]))
    assert server.trace_id == TRACE


def test_what_a_client_did_not_sample_is_not_exported(traced: Traced, collector: OtlpReceiver) -> None:
    desk = traced()
    lane = desk.provider()
    ask(desk, [("traceparent", f"00-{TRACE}-{PARENT}-00")])
    assert re.fullmatch(f"00-{TRACE}-[0-9a-f]{{16}}-00", lane.last.header("traceparent") or "")
    collector.trace_of(ask(desk))
    assert {span.trace_id for span in collector.spans} != {TRACE}
    assert len(collector.spans) == 2


def test_the_sampler_of_the_environment_decides(traced: Traced, collector: OtlpReceiver) -> None:
    desk = traced(OTEL_TRACES_SAMPLER="parentbased_always_off")
    lane = desk.provider()
    ask(desk)
    assert (lane.last.header("traceparent") or "").endswith("-00")
    collector.trace_of(ask(desk, [("traceparent", TRACEPARENT)]))
    assert {span.trace_id for span in collector.spans} == {TRACE}


def test_a_cached_reply_has_no_attempt(traced: Traced, collector: OtlpReceiver) -> None:
    desk = traced()
    desk.provider()
    headers = [("x-llm-gateway-cache", "on")]
    _, clients = collector.trace_of(ask(desk, headers, temperature=0))
    assert len(clients) == 1
    server, clients = collector.trace_of(ask(desk, headers, temperature=0))
    assert clients == []
    assert server.attributes["llm_gateway.cache_hit"] is True


def test_a_refused_request_is_a_span(traced: Traced, collector: OtlpReceiver) -> None:
    desk = traced()
    desk.provider()
    server, clients = collector.trace_of(ask(desk, model="none-such"))
    assert clients == []
    assert (server.attributes["http.response.status_code"], server.is_error) == (404, False)


def test_the_last_spans_are_exported_at_the_end(traced: Traced, collector: OtlpReceiver) -> None:
    desk = traced(OTEL_BSP_SCHEDULE_DELAY="600000", WORKERS=2)
    desk.provider()
    ids = [ask(desk) for _ in range(10)]
    assert desk.gateway.stop() == 0
    for request_id in ids:
        _, clients = collector.trace_of(request_id)
        assert len(clients) == 1


@pytest.mark.parametrize("workers", [1, 2])
def test_a_collector_that_is_away(traced: Traced, workers: int) -> None:
    desk = traced(
        OTEL_EXPORTER_OTLP_ENDPOINT=f"http://someone:hush@127.0.0.1:{free_port()}",
        OTEL_BSP_MAX_QUEUE_SIZE="8",
        OTEL_BSP_MAX_EXPORT_BATCH_SIZE="4",
        OTEL_EXPORTER_OTLP_TIMEOUT="1",
        WORKERS=workers,
    )
    desk.provider()
    for _ in range(40):
        assert desk.chat().status_code == 200
    text = eventually(desk.gateway.stderr.read_text, lambda seen: "do not reach the collector" in seen)
    for _ in range(10):
        assert desk.chat().status_code == 200
    # More time than it gives the last spans, and less than the SDK would take.
    desk.gateway.terminate()
    assert desk.gateway.wait(15) == 0
    text = desk.gateway.stderr.read_text()
    assert text.count("do not reach the collector") <= workers
    assert "hush" not in text
    assert "opentelemetry" not in text
    assert desk.gateway.distress() == []


def test_without_tracing_a_traceparent_is_passed_on(desk: Desk) -> None:
    lane = desk.provider()
    ask(desk, [("traceparent", TRACEPARENT), ("tracestate", "a=1")])
    assert lane.last.header("traceparent") == TRACEPARENT
    assert lane.last.header("tracestate") == "a=1"
