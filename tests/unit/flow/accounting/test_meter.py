"""Every fact of a request comes to stand in its own field of the record."""

from __future__ import annotations

import msgspec

from llm_gateway.core.ledger.records import UsageRecord
from llm_gateway.core.ledger.usage import Usage, UsageDetails
from llm_gateway.flow.accounting.meter import Meter
from llm_gateway.flow.call import Call
from llm_gateway.surfaces.openai.dialect import CHAT
from tests.fakes.in_memory import FakeGateway, FakeReply, ScriptedUpstream, provider
from tests.fakes.prices import CHEAP, VERSION, prices_of, with_prices


async def test_no_field_holds_anothers_value() -> None:
    bench = FakeGateway(provider("a"), upstream=ScriptedUpstream(a=lambda _: FakeReply(b"")))
    with_prices(bench, a=prices_of(CHEAP))
    snapshot = bench.gateway.snapshots.current
    assert snapshot is not None
    route = snapshot.route("m")
    assert route is not None
    started = bench.clock.monotonic()
    call = Call(
        dialect=CHAT,
        request_id="the id",
        client_request_id="the client's id",
        path="/the/path",
        method="THE METHOD",
        api_key=None,
        client_ip="the address",
        started=started,
        created_at=11,
        forwarded={},
        request_bytes=12,
    )
    meter = Meter(bench.gateway, call)
    meter.credential, meter.model, meter.stream = "the credential", "the model", True
    meter.config_version, meter.response_bytes = 13, 14
    meter.requested_tier = "the requested tier"
    bench.clock.now += 0.25
    meter.attempt(route.deployments[0], bench.clock.monotonic())
    bench.clock.now += 0.5
    meter.first_content()
    bench.clock.now += 1.0
    meter.upstream_ended()
    bench.clock.now += 2.0005004
    usage = Usage(
        prompt_tokens=21,
        completion_tokens=22,
        total_tokens=43,
        cached_tokens=15,
        reasoning_tokens=16,
        cache_write_tokens=4,
        details=UsageDetails(served_tier="the served tier"),
    )
    meter.report("ok", 201, error_type="the error", usage=usage)
    assert meter.record is not None
    assert msgspec.structs.asdict(meter.record) == {
        **{field.name: field.default for field in msgspec.structs.fields(UsageRecord) if not field.required},
        "request_id": "the id",
        "created_at": 11,
        "endpoint": "/the/path",
        "method": "THE METHOD",
        "stream": True,
        "status_code": 201,
        "outcome": "ok",
        "client_request_id": "the client's id",
        "credential": "the credential",
        "provider": "a",
        "model": "the model",
        "upstream_model": route.deployments[0].upstream_model,
        "error_type": "the error",
        "prompt_tokens": 21,
        "completion_tokens": 22,
        "total_tokens": 43,
        "cached_tokens": 15,
        "reasoning_tokens": 16,
        "usage_source": usage.source,
        "request_bytes": 12,
        "response_bytes": 14,
        "latency_ms": 3750.5,
        "upstream_latency_ms": 1500.0,
        "ttft_ms": 750.0,
        "attempts": 1,
        "client_ip": "the address",
        "config_version": 13,
        "cache_hit": False,
        "attempt_started_at": 250_011,
        "cache_write_tokens": 4,
        "cached_in_prompt": True,
        # 21 x 1 + 22 x 2 USD per million tokens.
        "cost_nano_usd": 65_000,
        "cost_source": "catalog",
        "unpriced": None,
        "cost_breakdown": {"input_tokens": (21, 21_000), "output_tokens": (22, 44_000)},
        "price_version": VERSION,
        "requested_tier": "the requested tier",
        "served_tier": "the served tier",
        "tenant": None,
        "project": None,
        "agent": None,
        "end_user": None,
        "channel": None,
        "soeid": None,
        "tags": None,
        "requests": 1,
    }
    [begun] = bench.recorder.begun
    assert msgspec.structs.asdict(begun) == {
        "request_id": "the id",
        "created_at": 11,
        "client_request_id": "the client's id",
        "credential": "the credential",
        "provider": "a",
        "model": "the model",
        "upstream_model": route.deployments[0].upstream_model,
        "endpoint": "/the/path",
        "method": "THE METHOD",
        "stream": True,
        "request_bytes": 12,
        "attempts": 1,
        "client_ip": "the address",
        "config_version": 13,
        "started_at": 250_011,
    }
