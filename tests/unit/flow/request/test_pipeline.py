"""A request on its way through the flow: admission, the prefix, the record, and clients that leave."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from llm_gateway.core.errors import (
    Forbidden,
    ModelNotFound,
    RateLimited,
    Unauthenticated,
    Unavailable,
)
from llm_gateway.flow.request.pipeline import handle
from llm_gateway.providers.base import UpstreamRequest
from tests.fakes.chat_requests import (
    WHOLE,
    ask,
    one,
    read,
    whole,
)
from tests.fakes.in_memory import FakeGateway, FakeReply, ScriptedUpstream, credential, provider


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


async def test_usage_that_the_provider_does_not_report_is_counted() -> None:
    reply = {"choices": [{"index": 0, "message": {"content": "one two three"}, "finish_reason": "stop"}]}
    bench = one(FakeReply(msgspec.json.encode(reply)))
    await ask(bench)
    record = bench.recorder.record
    # role and two words, 3 for the message, 3 for the reply
    assert (record.prompt_tokens, record.completion_tokens) == (9, 3)
    assert record.usage_source == "counted"


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
