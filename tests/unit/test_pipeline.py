"""A request's way through the flow, with every port in memory."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from llm_gateway.core.errors import (
    Forbidden,
    GatewayError,
    ModelNotFound,
    RateLimited,
    Unauthenticated,
    Unavailable,
    UpstreamFailed,
    UpstreamRefused,
    UpstreamTimedOut,
)
from llm_gateway.core.model_request import ModelRequest
from llm_gateway.flow.call import Call
from llm_gateway.flow.gateway import Options
from llm_gateway.flow.ports.upstream import TransportError
from llm_gateway.flow.request.pipeline import handle
from llm_gateway.flow.request.reply import StreamReply, WholeReply
from llm_gateway.providers.base import UpstreamRequest
from llm_gateway.surfaces.openai.parsing import parse_chat
from tests.fakes.in_memory import Answer, FakeGateway, FakeReply, ScriptedUpstream, credential, provider

WHOLE = msgspec.json.encode(
    {
        "id": "x",
        "object": "chat.completion",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hi"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 1, "total_tokens": 4},
    }
)
ROLE = b'data: {"choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}\n\n'
HELLO = b'data: {"choices":[{"index":0,"delta":{"content":"Hello you"},"finish_reason":null}]}\n\n'
STOP = b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
USAGE = b'data: {"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5}}\n\n'
DONE = b"data: [DONE]\n\n"
CUT = TransportError("cut", "cut")


@pytest.fixture(autouse=True, params=["relayed", "read"])
def transport(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Streams come the same whether the transport relays them or not."""
    monkeypatch.setattr(FakeReply, "relays", request.param == "relayed")


def whole() -> FakeReply:
    return FakeReply(WHOLE)


def stream(*pieces: bytes | TransportError | float, **more: Any) -> FakeReply:
    return FakeReply(*pieces, content_type="text/event-stream", **more)


def read(**fields: Any) -> Any:
    body = msgspec.json.encode({"model": "m", "messages": [{"role": "user", "content": "a b"}], **fields})

    async def read_request(call: Call) -> ModelRequest:
        await asyncio.sleep(0)
        call.request_bytes = len(body)
        return parse_chat(body)

    return read_request


async def ask(bench: FakeGateway, **fields: Any) -> WholeReply:
    reply = await handle(bench.gateway, bench.call(), read(**fields))
    assert isinstance(reply, WholeReply)
    return reply


async def ask_stream(bench: FakeGateway, **fields: Any) -> bytes:
    reply = await handle(bench.gateway, bench.call(), read(stream=True, **fields))
    assert isinstance(reply, StreamReply)
    return await consume(reply)


async def consume(reply: StreamReply) -> bytes:
    out = bytearray()

    def sink(data: bytes) -> bool:
        out.extend(data)
        # Slow, now and then.
        return len(out) % 3 != 0

    try:
        while True:
            data, last = await reply.next()
            out.extend(data)
            if last:
                return bytes(out)
            await reply.relay(sink)
    finally:
        reply.close()


def one(reply: Answer | list[Answer], **options: Any) -> FakeGateway:
    return FakeGateway(provider("a"), upstream=ScriptedUpstream(a=reply), options=Options(**options))


async def test_s4_60_a_unary_reply_comes_back_byte_for_byte() -> None:
    bench = one(whole())
    reply = await ask(bench, seed=1, unknown={"x": [1]})
    assert reply.body == WHOLE
    sent = msgspec.json.decode(bench.upstream.requests[0].body)
    assert sent["unknown"] == {"x": [1]}
    assert sent["seed"] == 1
    assert bench.upstream.requests[0].headers["authorization"] == "Bearer sk-secret-of-a"
    record = bench.recorder.record
    assert (record.outcome, record.status_code, record.total_tokens) == ("ok", 200, 4)
    assert (record.credential, record.provider, record.model) == ("tester", "a", "m")
    assert record.usage_source == "provider"
    assert record.config_version == 7
    assert record.response_bytes == len(WHOLE)
    assert len(bench.recorder.begun) == 1


async def test_usage_that_the_provider_does_not_tell_is_counted() -> None:
    reply = {"choices": [{"index": 0, "message": {"content": "one two three"}, "finish_reason": "stop"}]}
    bench = one(FakeReply(msgspec.json.encode(reply)))
    await ask(bench)
    record = bench.recorder.record
    # role and two words, 3 for the message, 3 for the reply
    assert (record.prompt_tokens, record.completion_tokens) == (9, 3)
    assert record.usage_source == "counted"


@pytest.mark.parametrize(
    "bad",
    [
        TransportError("connect", "refused"),
        CUT,
        FakeReply(b"{}", status=401),
        FakeReply(b"{}", status=429),
        FakeReply(b"{}", status=500),
        FakeReply(b"{}", status=503),
        FakeReply(b"<html>"),
        FakeReply(b'{"choices":[', CUT),
        TransportError("timeout", "late"),
    ],
)
async def test_a_failing_provider_is_skipped_for_the_request_at_hand(bad: Answer) -> None:
    upstream = ScriptedUpstream(a=bad, b=lambda _: whole())
    bench = FakeGateway(provider("a"), provider("b", 2), upstream=upstream)
    for _ in range(4):
        assert (await ask(bench)).body == WHOLE
    assert set(upstream.hosts) == {"a", "b"}
    assert [record.outcome for record in bench.recorder.records] == ["ok"] * 4
    assert {record.attempts for record in bench.recorder.records} == {1, 2}
    assert len(bench.recorder.failed) == upstream.hosts.count("a")


@pytest.mark.parametrize("status", [400, 403, 404, 422])
async def test_c32_a_providers_own_4xx_is_the_clients_and_names_no_secret(status: int) -> None:
    error = {
        "error": {
            "message": "No, sk-secret-of-a at https://a.test/v1 says no",
            "type": "invalid_request_error",
            "code": "bad_thing",
            "param": "messages",
        }
    }
    upstream = ScriptedUpstream(a=FakeReply(msgspec.json.encode(error), status=status))
    bench = FakeGateway(provider("a"), upstream=upstream)
    with pytest.raises(UpstreamRefused) as caught:
        await ask(bench)
    refused = caught.value
    assert (refused.status, refused.type, refused.code) == (status, "invalid_request_error", "bad_thing")
    assert refused.message == "No, [secret] at [provider] says no"
    assert len(upstream.requests) == 1
    assert bench.recorder.record.outcome == "error"
    assert bench.recorder.record.status_code == status


@pytest.mark.parametrize(
    ("answer", "kind", "status"),
    [
        (TransportError("connect", "x"), UpstreamFailed, 502),
        (CUT, UpstreamFailed, 502),
        (TransportError("timeout", "x"), UpstreamTimedOut, 504),
        (FakeReply(b"{}", status=401), UpstreamFailed, 502),
        (FakeReply(b"{}", status=500), UpstreamFailed, 502),
        (FakeReply(b"{}", status=504), UpstreamTimedOut, 504),
        (FakeReply(b"{}", status=302), UpstreamFailed, 502),
    ],
)
async def test_what_is_left_when_every_provider_failed(
    answer: Answer, kind: type[GatewayError], status: int
) -> None:
    bench = one(answer)
    with pytest.raises(kind) as caught:
        await ask(bench)
    assert caught.value.status == status == bench.recorder.record.status_code
    assert bench.recorder.record.outcome == "error"


async def test_a_429_of_every_provider_reaches_the_client_with_its_retry_after() -> None:
    bench = one(FakeReply(b'{"error":{"message":"slow"}}', status=429, headers={"retry-after": "7"}))
    with pytest.raises(UpstreamRefused) as caught:
        await ask(bench)
    assert (caught.value.status, caught.value.retry_after) == (429, 7.0)


async def test_c37_refusals_are_recorded_as_rejected() -> None:
    limited = credential(rate_limit=1, allowed_models=("m",))
    bench = FakeGateway(
        provider("a", model_mapping={"m": "up", "n": "up"}),
        upstream=ScriptedUpstream(a=lambda _: whole()),
        credentials=(limited,),
    )
    with pytest.raises(Unauthenticated):
        await handle(bench.gateway, bench.call(api_key=None), read())
    with pytest.raises(Unauthenticated):
        await handle(bench.gateway, bench.call(api_key="sk-other"), read())
    with pytest.raises(Forbidden):
        await handle(bench.gateway, bench.call(), read(model="n"))
    with pytest.raises(Unavailable):
        await handle(bench.gateway, bench.call(admitted=False), read())
    reply = await ask(bench)
    assert (b"x-ratelimit-remaining-requests", b"0") in reply.headers
    with pytest.raises(RateLimited) as caught:
        await ask(bench)
    assert caught.value.retry_after == 1.0
    outcomes = [record.outcome for record in bench.recorder.records]
    assert outcomes == ["rejected"] * 4 + ["ok", "rejected"]
    # Without a key there is no row: strangers must not fill the database.
    assert [record.status_code for record in bench.recorder.journalled] == [403, 200, 429]


async def test_c19_an_unknown_model_is_named() -> None:
    bench = FakeGateway(provider("a", model_mapping={"m": "up"}), upstream=ScriptedUpstream(a=whole()))
    with pytest.raises(ModelNotFound, match="'other'"):
        await handle(bench.gateway, bench.call(), read(model="other"))


@pytest.mark.parametrize(
    ("sent", "model"),
    [
        ("Proxy/gpt-4", "gpt-4"),
        ("gpt-4", "gpt-4"),
        ("Other/gpt-4", "Other/gpt-4"),
        ("Proxy/Proxy/x", "Proxy/x"),
    ],
)
async def test_s4_35_the_prefix_is_stripped_once(sent: str, model: str) -> None:
    bench = one(whole(), provider_suffix="Proxy")
    await ask(bench, model=sent)
    assert msgspec.json.decode(bench.upstream.requests[0].body)["model"] == model
    assert bench.recorder.record.model == model


async def test_a_stream_is_relayed_and_the_unasked_usage_is_kept_back() -> None:
    reply = stream(ROLE, HELLO, STOP, USAGE, DONE)
    bench = one(reply)
    assert await ask_stream(bench) == ROLE + HELLO + STOP + DONE
    sent = msgspec.json.decode(bench.upstream.requests[0].body)
    assert sent["stream_options"] == {"include_usage": True}
    record = bench.recorder.record
    assert (record.outcome, record.total_tokens, record.usage_source) == ("ok", 5, "provider")
    assert record.ttft_ms is not None
    assert reply.finished
    assert not reply.closed


async def test_a_stream_shows_the_usage_that_was_asked_for() -> None:
    bench = one(stream(ROLE, HELLO, STOP, USAGE, DONE))
    out = await ask_stream(bench, stream_options={"include_usage": True})
    assert out == ROLE + HELLO + STOP + USAGE + DONE


async def test_a_finished_stream_without_done_is_complete() -> None:
    bench = one(stream(ROLE, HELLO, STOP))
    assert await ask_stream(bench) == ROLE + HELLO + STOP + DONE
    record = bench.recorder.record
    assert record.outcome == "ok"
    assert (record.completion_tokens, record.usage_source) == (2, "counted")


@pytest.mark.parametrize("end", [CUT, None, TransportError("timeout", "silent")])
async def test_a_stream_cut_after_the_commit_ends_with_an_error_event(end: TransportError | None) -> None:
    bench = one(stream(ROLE, HELLO, *([end] if end else [])))
    out = await ask_stream(bench)
    assert out.startswith(ROLE + HELLO + b'data: {"error":')
    assert b"[DONE]" not in out
    record = bench.recorder.record
    assert (record.outcome, record.status_code) == ("error", 200)
    assert (record.completion_tokens, record.usage_source) == (2, "counted")


@pytest.mark.parametrize(
    "bad",
    [
        lambda: stream(CUT),
        lambda: stream(ROLE, CUT),
        lambda: stream(ROLE),
        lambda: stream(b'data: {"error":{"message":"overloaded"}}\n\n'),
        lambda: stream(b"event: error\ndata: {}\n\n"),
        lambda: stream(b"data: not json\n\n"),
        lambda: stream(TransportError("timeout", "silent")),
        lambda: FakeReply(b"not json"),
    ],
)
async def test_before_the_commit_another_deployment_answers(bad: Any) -> None:
    upstream = ScriptedUpstream(a=lambda _: bad(), b=lambda _: stream(ROLE, HELLO, STOP, DONE))
    bench = FakeGateway(provider("a"), provider("b", 2), upstream=upstream)
    for _ in range(2):
        assert await ask_stream(bench) == ROLE + HELLO + STOP + DONE
    assert "a" in upstream.hosts


async def test_an_in_band_error_after_the_commit_is_relayed_redacted() -> None:
    bad = b'data: {"error":{"message":"sk-secret-of-a broke","code":"boom"}}\n\n'
    bench = one(stream(HELLO, bad, STOP, DONE))
    out = await ask_stream(bench)
    assert b"[secret] broke" in out
    assert b"sk-secret" not in out
    assert b"[DONE]" not in out


async def test_json_that_answers_a_streamed_request_is_one_chunk() -> None:
    bench = one(whole())
    out = await ask_stream(bench)
    first = msgspec.json.decode(out.split(b"\n\n")[0].removeprefix(b"data: "))
    assert first["object"] == "chat.completion.chunk"
    assert first["choices"][0]["delta"]["content"] == "Hi"
    assert out.endswith(DONE)
    assert bench.recorder.record.total_tokens == 4


async def test_commit_hold_lets_go_of_a_slow_thinker() -> None:
    bench = one(FakeReply(), commit_hold=2.0)
    reply = stream(ROLE, 30.0, HELLO, STOP, DONE, clock=bench.clock)
    bench.upstream.answers["a"] = [reply]
    got = await handle(bench.gateway, bench.call(), read(stream=True))
    assert isinstance(got, StreamReply)
    assert bench.clock.now == 1002.0
    assert await consume(got) == ROLE + HELLO + STOP + DONE
    assert bench.recorder.record.ttft_ms == 30_000.0


async def test_a_client_that_leaves_mid_stream_is_counted_as_aborted() -> None:
    reply = stream(ROLE, HELLO, HELLO, STOP, DONE)
    bench = one(reply)
    got = await handle(bench.gateway, bench.call(), read(stream=True))
    assert isinstance(got, StreamReply)
    await got.next()
    got.close()
    assert reply.closed
    await bench.gateway.background.drain(1)
    record = bench.recorder.record
    assert (record.outcome, record.status_code, record.completion_tokens) == ("aborted", 200, 2)


async def test_a_client_that_leaves_before_the_reply_is_recorded_once() -> None:
    started = asyncio.Event()

    class Slow(ScriptedUpstream):
        async def send(self, request: UpstreamRequest, timeout: float) -> FakeReply:
            started.set()
            await asyncio.sleep(3600)
            raise AssertionError

    bench = FakeGateway(provider("a"), upstream=Slow())
    task = asyncio.ensure_future(handle(bench.gateway, bench.call(), read()))
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (bench.recorder.record.outcome, bench.recorder.record.status_code) == ("aborted", 499)


async def test_s4_61_shares_are_exact_in_every_cycle() -> None:
    upstream = ScriptedUpstream(a=lambda _: whole(), b=lambda _: whole(), c=lambda _: whole())
    weights = {"a": 5, "b": 2, "c": 1}
    providers = [provider(key, i, weight=weight) for i, (key, weight) in enumerate(weights.items(), 1)]
    bench = FakeGateway(*providers, upstream=upstream)
    for cycle in range(5):
        for _ in range(8):
            await ask(bench)
        hosts = upstream.hosts[cycle * 8 :]
        assert {key: hosts.count(key) for key in weights} == weights


async def test_c2_weight_zero_drains() -> None:
    upstream = ScriptedUpstream(a=lambda _: whole(), b=lambda _: whole())
    bench = FakeGateway(provider("a", weight=0), provider("b", 2), upstream=upstream)
    for _ in range(4):
        await ask(bench)
    assert upstream.hosts == ["b"] * 4
    drained = FakeGateway(provider("a", weight=0), upstream=upstream)
    with pytest.raises(Unavailable, match="drained"):
        await ask(drained)
