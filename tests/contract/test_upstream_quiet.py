"""Plain events may bypass `take`, on every transport, loop and scheme; together both get the whole body in order."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from llm_gateway.flow.ports.upstream import UpstreamReply
from llm_gateway.infra.upstream.http11.pool import PooledUpstream
from tests.contract.test_upstreams import CHUNKED, and_end
from tests.fakes.certificates import Identity
from tests.fakes.origin import Script, Visit, origin_of
from tests.fakes.upstream_calls import SOON, MakeUpstream, ask, fault_of, post

END = b'"finish_reason":null}]}\n\n'
PLAIN = [b'data: {"%d",' % number + END for number in range(40)]
ODD = b'data: {"finish_reason":"stop"}\n\n'


class Quiet:
    """Plain content, and a sink that also takes what was read."""

    def __init__(self, most: int = 1000) -> None:
        self.sink = self
        self.open = True
        self.gone = False
        self.most = most
        self.out: list[bytes] = []
        self.unread: list[bytes] = []

    def write(self, chunk: bytes) -> None:
        size, _, rest = chunk.partition(b"\r\n")
        assert len(rest) == int(size, 16) + 2
        self.out.append(rest[:-2])
        self.open = len(self.out) % self.most != 0

    def __call__(self, events: bytes) -> bool:
        self.out.append(events)
        self.open = len(self.out) % self.most != 0
        return self.open

    def event_end(self) -> bytes:
        return END

    def passed_on(self, events: Iterator[bytes], size: int) -> None:
        self.unread += events


def chunk(content: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(content), content)


def slowly(*pieces: bytes, last: bytes = b"0\r\n\r\n") -> Script:
    """Return a script whose pieces arrive one by one."""

    async def script(visit: Visit) -> None:
        while True:
            await visit.answer(CHUNKED)
            for piece in pieces:
                await visit.send(piece)
                await asyncio.sleep(0.002)
            await visit.send(last)

    return script


async def relayed(reply: UpstreamReply, quiet: Quiet) -> None:
    while True:
        await reply.relay(quiet, SOON, quiet)
        quiet.open = True
        data = await reply.read(SOON)
        if not data:
            return
        quiet.out.append(data)


@pytest.mark.parametrize("is_tls", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize("most", [1000, 7], ids=["fast", "slow"])
async def test_plain_events_and_all_others_keep_their_order(
    make_upstream: MakeUpstream, tmp_path: Path, *, is_tls: bool, most: int
) -> None:
    identity = Identity(tmp_path, "localhost", "127.0.0.1")
    upstream = make_upstream(ssl_context=identity.client()) if is_tls else make_upstream()
    contents = [*PLAIN[:20], ODD, *PLAIN[20:]]
    pieces = [chunk(content) for content in contents]
    # One piece ends in the middle of a chunk.
    pieces[10:12] = [pieces[10] + pieces[11][:9], pieces[11][9:]]
    async with origin_of(slowly(*pieces), tls=identity.server() if is_tls else None) as origin:
        for _ in range(2):
            quiet = Quiet(most)
            reply = await upstream.send(post(origin.url()), SOON)
            await relayed(reply, quiet)
            reply.close()
            assert b"".join(quiet.out) == b"".join(contents)
            assert set(quiet.unread) <= set(PLAIN)
        assert len(origin.visits) == 1
        assert (await ask(upstream, origin.url()))[1] == b"".join(contents)


async def test_a_cut_after_plain_events_is_told(make_upstream: MakeUpstream) -> None:
    upstream, quiet = make_upstream(), Quiet()
    async with origin_of(and_end(CHUNKED, *map(chunk, PLAIN))) as origin:
        reply = await upstream.send(post(origin.url()), SOON)
        assert (await fault_of(relayed(reply, quiet))).kind == "cut"
        reply.close()
        assert b"".join(quiet.out) == b"".join(PLAIN)


async def test_silence_after_plain_events_is_a_timeout(make_upstream: MakeUpstream) -> None:
    async def script(visit: Visit) -> None:
        await visit.answer(CHUNKED)
        for content in PLAIN[:8]:
            # All of it lasts longer than the patience below, no gap does.
            await asyncio.sleep(0.1)
            await visit.send(chunk(content))
        await visit.request()

    upstream, quiet = make_upstream(), Quiet()
    async with origin_of(script) as origin:
        reply = await upstream.send(post(origin.url()), SOON)

        async def to_the_end() -> None:
            while data := await reply.read(0.5):
                quiet.out.append(data)
                await reply.relay(quiet, 0.5, quiet)

        assert (await fault_of(to_the_end())).kind == "timeout"
        reply.close()
        assert b"".join(quiet.out) == b"".join(PLAIN[:8])
        if isinstance(upstream, PooledUpstream):
            assert quiet.unread
