"""The deployments of a plan are tried in order, by their weights, until one has replied."""

from __future__ import annotations

from typing import Any

import pytest

from llm_gateway.core.errors import (
    GatewayError,
    Unavailable,
    UpstreamFailed,
    UpstreamTimedOut,
)
from llm_gateway.flow.ports.upstream import TransportError
from tests.fakes.chat_requests import (
    CUT,
    DONE,
    HELLO,
    ROLE,
    STOP,
    WHOLE,
    ask,
    ask_stream,
    one,
    stream,
    whole,
)
from tests.fakes.in_memory import Answer, FakeGateway, FakeReply, ScriptedUpstream, provider


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
async def test_the_next_deployment_answers_when_one_fails(bad: Answer) -> None:
    upstream = ScriptedUpstream(a=bad, b=lambda _: whole())
    bench = FakeGateway(provider("a"), provider("b", 2), upstream=upstream)
    for _ in range(4):
        assert (await ask(bench)).body == WHOLE
    assert set(upstream.hosts) == {"a", "b"}
    assert [record.outcome for record in bench.recorder.records] == ["ok"] * 4
    assert {record.attempts for record in bench.recorder.records} == {1, 2}
    assert len(bench.recorder.failed) == upstream.hosts.count("a")


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
async def test_the_clients_error_when_every_provider_failed(
    answer: Answer, kind: type[GatewayError], status: int
) -> None:
    bench = one(answer)
    with pytest.raises(kind) as caught:
        await ask(bench)
    assert caught.value.status == status == bench.recorder.record.status_code
    assert bench.recorder.record.outcome == "error"


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
