"""What a transport hands over by itself, and what it leaves to `read`: together, always the whole body."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from llm_gateway.flow.ports.upstream import Upstream, UpstreamReply
from tests.contract.test_upstreams import CHUNKED, FRAMINGS, and_end, and_reset
from tests.fakes.origin import Script, Visit, answers, origin_of
from tests.fakes.upstream_calls import SOON, ask, fault_of, post

LINES = [b"5\r\nline%d\r\n" % number for number in range(9)]
TEXT = b"".join(b"line%d" % number for number in range(9))


async def taken(reply: UpstreamReply, out: list[bytes], wanted: int = 10**6, patience: float = SOON) -> None:
    """Take the body to its end, stopping after every `wanted` pieces to read one."""
    fresh = 0

    def take(data: bytes) -> bool:
        nonlocal fresh
        assert data
        out.append(data)
        fresh += 1
        return fresh < wanted

    while True:
        fresh = 0
        await reply.relay(take, patience)
        data = await reply.read(patience)
        if not data:
            return
        out.append(data)


@pytest.mark.parametrize(("wire", "body", "kept"), FRAMINGS.values(), ids=FRAMINGS.keys())
@pytest.mark.parametrize("drip", [False, True])
async def test_every_framing_is_relayed(
    upstream: Upstream, wire: bytes, body: bytes, kept: bool, drip: bool
) -> None:
    pieces = [bytes([byte]) for byte in wire] if drip else [wire]
    async with origin_of(answers(*pieces) if kept else and_end(*pieces)) as origin:
        for _ in range(2):
            out: list[bytes] = []
            reply = await upstream.send(post(origin.url()), SOON)
            await taken(reply, out)
            reply.close()
            assert b"".join(out) == body
        assert len(origin.visits) == (1 if kept else 2)


@pytest.mark.parametrize("wanted", [1, 2, 3])
async def test_who_wants_no_more_reads_on_where_it_stopped(upstream: Upstream, wanted: int) -> None:
    async with origin_of(answers(CHUNKED, *LINES, b"0\r\n\r\n")) as origin:
        out: list[bytes] = []
        reply = await upstream.send(post(origin.url()), SOON)
        await taken(reply, out, wanted)
        reply.close()
        assert b"".join(out) == TEXT
        assert (await ask(upstream, origin.url()))[1] == TEXT
        assert len(origin.visits) == 1


@pytest.mark.parametrize("ending", [and_end, and_reset])
async def test_what_came_before_a_cut_is_handed_over(
    upstream: Upstream, ending: Callable[..., Script]
) -> None:
    async with origin_of(ending(CHUNKED, *LINES[:4])) as origin:
        out: list[bytes] = []
        reply = await upstream.send(post(origin.url()), SOON)
        fault = await fault_of(taken(reply, out))
        reply.close()
        assert fault.kind == "cut"
        assert b"".join(out) == b"line0line1line2line3"


async def test_nonsense_in_the_middle_is_told(upstream: Upstream) -> None:
    async with origin_of(answers(CHUNKED, *LINES[:2], b"zz\r\n")) as origin:
        reply = await upstream.send(post(origin.url()), SOON)
        assert (await fault_of(taken(reply, []))).kind == "protocol"
        reply.close()


async def test_silence_is_a_timeout_however_long_it_talked_before(upstream: Upstream) -> None:
    async def script(visit: Visit) -> None:
        await visit.answer(CHUNKED)
        for line in LINES:
            # All of it lasts longer than the patience below, no gap does.
            await asyncio.sleep(0.04)
            await visit.send(line)
        await visit.request()

    async with origin_of(script) as origin:
        out: list[bytes] = []
        reply = await upstream.send(post(origin.url()), SOON)
        assert (await fault_of(taken(reply, out, patience=0.2))).kind == "timeout"
        reply.close()
        assert b"".join(out) == TEXT


async def test_a_cancelled_relay_loses_nothing(upstream: Upstream) -> None:
    go = asyncio.Event()

    async def script(visit: Visit) -> None:
        await visit.answer(CHUNKED, LINES[0])
        await go.wait()
        await visit.send(*LINES[1:], b"0\r\n\r\n")
        await visit.request()

    async with origin_of(script) as origin:
        out: list[bytes] = []
        reply = await upstream.send(post(origin.url()), SOON)
        taking = asyncio.ensure_future(taken(reply, out))
        while not out:  # noqa: ASYNC110 - nothing tells
            await asyncio.sleep(0)
        taking.cancel()
        await asyncio.wait({taking})
        go.set()
        await taken(reply, out)
        reply.close()
        assert b"".join(out) == TEXT
