"""One attempt at one deployment: the provider's errors, the commit of a stream, and the headers of the reply."""

from __future__ import annotations

import msgspec
import pytest

from llm_gateway.core.errors import (
    UpstreamFailed,
    UpstreamRefused,
    UpstreamTimedOut,
)
from llm_gateway.flow.ports.upstream import TransportError
from llm_gateway.flow.request.pipeline import handle
from llm_gateway.flow.request.reply import StreamReply
from tests.fakes.chat_requests import (
    DONE,
    HELLO,
    ROLE,
    STOP,
    ask,
    ask_stream,
    begin_stream,
    consume,
    one,
    read,
    stream,
    whole,
)
from tests.fakes.in_memory import FakeGateway, FakeReply, ScriptedUpstream, provider
from tests.fakes.pinging_reply import PING, Pinging


@pytest.fixture(autouse=True, params=["relayed", "read"])
def transport(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run each test with a transport that relays and with one that does not."""
    monkeypatch.setattr(FakeReply, "relays", request.param == "relayed")


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


async def test_a_429_of_every_provider_reaches_the_client_with_its_retry_after() -> None:
    bench = one(FakeReply(b'{"error":{"message":"slow"}}', status=429, headers={"retry-after": "7"}))
    with pytest.raises(UpstreamRefused) as caught:
        await ask(bench)
    assert (caught.value.status, caught.value.retry_after) == (429, 7.0)


async def test_json_that_answers_a_streamed_request_is_one_chunk() -> None:
    bench = one(whole())
    out = await ask_stream(bench)
    first = msgspec.json.decode(out.split(b"\n\n")[0].removeprefix(b"data: "))
    assert first["object"] == "chat.completion.chunk"
    assert first["choices"][0]["delta"]["content"] == "Hi"
    assert out.endswith(DONE)
    assert bench.recorder.record.total_tokens == 4


async def test_a_slow_model_is_committed_after_the_commit_hold() -> None:
    bench = one(FakeReply(), commit_hold=2.0)
    reply = stream(ROLE, 30.0, HELLO, STOP, DONE, clock=bench.clock)
    bench.upstream.answers["a"] = [reply]
    got = await handle(bench.gateway, bench.call(), read(stream=True))
    assert isinstance(got, StreamReply)
    assert bench.clock.now == 1002.0
    assert await consume(got) == ROLE + HELLO + STOP + DONE
    assert bench.recorder.record.ttft_ms == 30_000.0


async def test_held_events_are_sent_after_the_commit_hold_without_comments() -> None:
    bench = one(FakeReply(), max_retries=0, llm_timeout=10.0, commit_hold=2.0)
    reply = await begin_stream(bench, Pinging(bench.clock, ROLE, seconds=0.5))
    assert bench.clock.now == 1002.5
    out = await consume(reply)
    assert out.startswith(ROLE)
    assert PING not in out
    assert b"upstream_timeout" in out
    assert bench.clock.now <= 1011.0


async def test_comments_before_the_commit_do_not_extend_the_time() -> None:
    bench = one(FakeReply(), max_retries=0, llm_timeout=10.0, commit_hold=60.0)
    with pytest.raises(UpstreamTimedOut):
        await begin_stream(bench, Pinging(bench.clock, seconds=0.5))
    assert bench.clock.now <= 1011.0


async def test_a_failure_of_the_operators_proxy_opens_no_breaker() -> None:
    upstream = ScriptedUpstream(a=TransportError("proxy", "the proxy refused the connection"))
    bench = FakeGateway(provider("a"), upstream=upstream)
    for _ in range(30):
        with pytest.raises(UpstreamFailed) as caught:
            await ask(bench)
        assert caught.value.code == "proxy_failed"
    assert bench.gateway.selector.open_breakers() == {}
    assert bench.recorder.failed[0].reason == "proxy"
