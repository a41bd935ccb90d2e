"""The built-in provider, and the choice between it and HTTP."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from llm_gateway.flow.ports.upstream import TransportError, Upstream
from llm_gateway.infra.upstream.by_scheme import UpstreamByScheme
from llm_gateway.infra.upstream.simulated.upstream import SimulatedReply, SimulatedUpstream
from llm_gateway.providers.base import UpstreamRequest
from tests.fakes.in_memory import FakeReply

SOON = 10.0


def _chat(knobs: str = "chunk_ms=0", path: str = "chat/completions", **fields: Any) -> UpstreamRequest:
    body = {"model": "m", "messages": [{"role": "user", "content": "hello"}], "prompt": "hello", **fields}
    return UpstreamRequest(url=f"simulated://s/{path}?{knobs}", headers={}, body=msgspec.json.encode(body))


async def _json(request: UpstreamRequest) -> tuple[int, Any]:
    reply = await SimulatedUpstream().send(request, SOON)
    return reply.status, msgspec.json.decode(await reply.read_all(1 << 20, SOON))


async def _events(reply: SimulatedReply) -> list[Any]:
    text = b""
    while data := await reply.read(SOON):
        text += data
    *events, done, rest = text.split(b"\n\n")
    assert (done, rest) == (b"data: [DONE]", b"")
    return [msgspec.json.decode(event.removeprefix(b"data: ")) for event in events]


@pytest.mark.parametrize("path", ["chat/completions", "completions"])
async def test_streamed_and_whole_say_the_same(path: str) -> None:
    status, whole = await _json(_chat("words=7", path))
    reply = await SimulatedUpstream().send(
        _chat("words=7&chunk_ms=0", path, stream=True, stream_options={"include_usage": True}), SOON
    )
    events = await _events(reply)
    if path == "completions":
        said = "".join(event["choices"][0]["text"] for event in events if event["choices"])
        assert whole["choices"][0]["text"] == said
    else:
        said = "".join(
            event["choices"][0]["delta"].get("content", "") for event in events if event["choices"]
        )
        assert whole["choices"][0]["message"]["content"] == said
    assert (status, len(said.split()), whole["model"]) == (200, 7, "m")
    assert events[-1]["usage"] == whole["usage"]
    assert whole["usage"]["completion_tokens"] == 7


async def test_a_limit_of_tokens_is_kept() -> None:
    _, whole = await _json(_chat("words=7", max_tokens=3))
    assert whole["choices"][0]["finish_reason"] == "length"
    assert whole["usage"]["completion_tokens"] == 3


async def test_every_nth_request_has_the_fault() -> None:
    upstream = SimulatedUpstream()
    request = _chat("fault=503&fault_every=3")
    assert [(await upstream.send(request, SOON)).status for _ in range(6)] == [200, 200, 503] * 2


@pytest.mark.parametrize("fault", ["connect", "cut", "stall", "latency_ms=60000"])
async def test_faults(fault: str) -> None:
    upstream = SimulatedUpstream()
    knobs = fault if "=" in fault else f"fault={fault}&chunk_ms=0"

    async def whole() -> None:
        reply = await upstream.send(_chat(knobs, stream=True), 0.01)
        assert reply.header("content-type") == "text/event-stream"
        while await reply.read(SOON):
            pass

    with pytest.raises(TransportError) as caught:
        await whole()
    assert caught.value.kind == {"connect": "connect", "cut": "cut"}.get(fault, "timeout")


async def test_knobs_that_are_none_are_named() -> None:
    with pytest.raises(TransportError, match="words"):
        await SimulatedUpstream().send(_chat("words=many"), SOON)


async def test_a_read_that_timed_out_loses_nothing() -> None:
    reply = await SimulatedUpstream().send(_chat("chunk_ms=30&words=2", stream=True), SOON)
    first = await reply.read(SOON)
    with pytest.raises(TransportError) as caught:
        await reply.read(0.0)
    assert caught.value.kind == "timeout"
    second = await reply.read(SOON)
    assert (first != second, second[:5]) == (True, b"data:")
    reply.finish()


async def test_a_body_over_the_limit_is_refused() -> None:
    reply = await SimulatedUpstream().send(_chat(), SOON)
    with pytest.raises(TransportError) as caught:
        await reply.read_all(10, SOON)
    assert caught.value.kind == "protocol"
    reply.close()


async def test_the_whole_body_has_one_deadline() -> None:
    reply = await SimulatedUpstream().send(_chat("chunk_ms=5&words=1000", stream=True), SOON)
    with pytest.raises(TransportError) as caught:
        await reply.read_all(1 << 20, 0.03)
    assert caught.value.kind == "timeout"
    reply.close()
    await asyncio.sleep(0)


async def test_one_model_is_listed_though_any_name_works() -> None:
    request = UpstreamRequest(url="simulated://s/models", headers={}, method="GET")
    status, listed = await _json(request)
    assert status == 200
    assert [model["id"] for model in listed["data"]] == ["simulated"]


class Http(Upstream):
    """A transport that remembers who came."""

    def __init__(self) -> None:
        self.urls: list[str] = []
        self.closed = False

    async def send(self, request: UpstreamRequest, timeout: float) -> FakeReply:
        self.urls.append(request.url)
        return FakeReply()

    async def close(self) -> None:
        self.closed = True


async def test_the_scheme_chooses() -> None:
    http = Http()
    upstream = UpstreamByScheme(http=http, simulated=SimulatedUpstream())
    assert isinstance(await upstream.send(_chat(), SOON), SimulatedReply)
    await upstream.send(UpstreamRequest(url="https://a.test/", headers={}), SOON)
    assert http.urls == ["https://a.test/"]
    await upstream.close()
    assert http.closed
