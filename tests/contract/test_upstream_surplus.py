"""Bytes that no request asked for: none of them may become the reply to somebody else's request."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from llm_gateway.flow.ports.upstream import Upstream
from llm_gateway.infra.upstream.aiohttp.transport import AiohttpUpstream
from llm_gateway.infra.upstream.proxies import ProxySettings
from tests.fakes.blocking_origin import blocking_origin
from tests.fakes.certificates import Identity
from tests.fakes.origin import HELLO, OK, Visit, answers, origin_of
from tests.fakes.upstream_calls import SOON, MakeUpstream, ask, post, read_to_end

EVIL = OK + b"content-length: 4\r\n\r\nevil"
CHUNKED_HELLO = OK + b"transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
# A reply, other replies, the start of one, and what is no HTTP.
SURPLUS = [
    EVIL,
    CHUNKED_HELLO.replace(b"hello", b"eviil"),
    b"HTTP/1.1 100 Continue\r\n\r\n",
    EVIL[:20],
    b"H",
    b"evil",
    EVIL + EVIL,
]
REPLIES = {"length": HELLO, "chunked": CHUNKED_HELLO, "empty": OK + b"content-length: 0\r\n\r\n"}
Read = Callable[[Upstream, str], Awaitable[bytes]]


@pytest.fixture(scope="module")
def identity(tmp_path_factory: pytest.TempPathFactory) -> Identity:
    return Identity(tmp_path_factory.mktemp("tls"), "localhost", "127.0.0.1")


@pytest.fixture
async def proxied() -> AsyncIterator[Callable[[str], Upstream]]:
    """Yield a function that makes a transport behind a proxy."""
    made: list[Upstream] = []

    def make(proxy: str) -> Upstream:
        made.append(AiohttpUpstream(connect_timeout=SOON, proxies=ProxySettings({"http_proxy": proxy})))
        return made[-1]

    yield make
    for upstream in made:
        await upstream.close()


async def unary(upstream: Upstream, url: str) -> bytes:
    """Return the whole body."""
    return (await ask(upstream, url))[1]


async def stream(upstream: Upstream, url: str) -> bytes:
    """Return the body, read as a stream."""
    reply = await upstream.send(post(url), SOON)
    body = b"".join(await read_to_end(reply))
    reply.finish()
    return body


async def relayed(upstream: Upstream, url: str) -> bytes:
    """Return the body, relayed by the connection itself."""
    reply = await upstream.send(post(url), SOON)
    pieces: list[bytes] = []

    def take(piece: bytes) -> bool:
        pieces.append(piece)
        return True

    await reply.relay(take, SOON)
    pieces += await read_to_end(reply)
    reply.finish()
    return b"".join(pieces)


CASES = [
    *((read, good, EVIL) for read in (unary, stream, relayed) for good in REPLIES.values()),
    *((unary, HELLO, surplus) for surplus in SURPLUS[1:]),
    *((relayed, CHUNKED_HELLO, surplus) for surplus in SURPLUS[1:]),
]
every_case = pytest.mark.parametrize(("read", "good", "surplus"), CASES)


def _body_of(good: bytes) -> bytes:
    return b"" if b"content-length: 0" in good else b"hello"


@every_case
async def test_surplus_in_the_segment_of_the_reply(
    upstream: Upstream, read: Read, good: bytes, surplus: bytes
) -> None:
    async with origin_of(answers(good + surplus)) as origin:
        await _ask_all(upstream, read, origin.url(), good)
        assert len(origin.visits) == 4


@every_case
async def test_surplus_in_a_later_segment(
    upstream: Upstream, read: Read, good: bytes, surplus: bytes
) -> None:
    async with origin_of(answers(good, surplus)) as origin:
        await _ask_all(upstream, read, origin.url(), good)
        assert len(origin.visits) == 4


@pytest.mark.parametrize("read", [unary, stream, relayed])
@pytest.mark.parametrize("good", REPLIES.values(), ids=REPLIES.keys())
async def test_surplus_behind_a_proxy(proxied: Callable[[str], Upstream], read: Read, good: bytes) -> None:
    for pieces in ((good + EVIL,), (good, EVIL)):
        async with origin_of(answers(*pieces)) as proxy:
            await _ask_all(proxied(proxy.base), read, "http://provider.test/v1/x", good)


@pytest.mark.parametrize("surplus", SURPLUS)
async def test_surplus_behind_the_end_of_a_stream_that_was_let_go(upstream: Upstream, surplus: bytes) -> None:
    async def script(visit: Visit) -> None:
        await visit.answer(OK + b"transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n")
        await asyncio.sleep(0.01)
        await visit.send(b"0\r\n\r\n" + surplus)
        await visit.keep_answering(EVIL)

    async with origin_of(script) as origin:
        for _ in range(3):
            reply = await upstream.send(post(origin.url()), SOON)
            assert await reply.read(SOON) == b"hello"
            reply.finish()
            await asyncio.sleep(0.03)
        assert len(origin.visits) == 3


async def _ask_all(upstream: Upstream, read: Read, url: str, good: bytes) -> None:
    for _ in range(4):
        assert await read(upstream, url) == _body_of(good)
        # What follows the reply arrives before the next request is sent.
        await asyncio.sleep(0.01)


# --- while the event loop is busy --------------------------------------------------------------------


@every_case
async def test_surplus_that_arrives_on_an_idle_connection_while_the_loop_is_busy(
    upstream: Upstream, read: Read, good: bytes, surplus: bytes
) -> None:
    with blocking_origin(good) as origin:
        for _ in range(3):
            assert await read(upstream, origin.url) == _body_of(good)
            await asyncio.sleep(0.01)
            origin.send(surplus)
        assert await read(upstream, origin.url) == _body_of(good)
        assert origin.requests == [1] * 4


async def test_surplus_while_the_loop_is_busy_behind_a_proxy(proxied: Callable[[str], Upstream]) -> None:
    with blocking_origin(HELLO) as proxy:
        upstream = proxied(f"http://127.0.0.1:{proxy.port}")
        for _ in range(3):
            assert await unary(upstream, "http://provider.test/v1/x") == b"hello"
            proxy.send(EVIL)
        assert proxy.requests == [1] * 3


async def test_surplus_over_tls_while_the_loop_is_busy(
    make_upstream: MakeUpstream, identity: Identity
) -> None:
    upstream = make_upstream(ssl_context=identity.client())
    with blocking_origin(HELLO, tls=identity.server()) as origin:
        for _ in range(3):
            assert await unary(upstream, origin.url) == b"hello"
            await asyncio.sleep(0.01)
            origin.send(EVIL)
        assert await unary(upstream, origin.url) == b"hello"
        assert origin.requests == [1] * 4


async def test_an_end_that_arrives_while_the_loop_is_busy_costs_no_second_sending(upstream: Upstream) -> None:
    with blocking_origin(HELLO, answers_once=True) as origin:
        for _ in range(3):
            assert await unary(upstream, origin.url) == b"hello"
            origin.end()
        assert origin.requests == [1] * 3


async def test_only_the_connection_with_surplus_is_dropped(upstream: Upstream) -> None:
    with blocking_origin(HELLO) as origin:
        await asyncio.gather(*(unary(upstream, origin.url) for _ in range(3)))
        assert len(origin.connections) == 3
        origin.send(EVIL)
        await asyncio.gather(*(unary(upstream, origin.url) for _ in range(2)))
        assert len(origin.connections) == 3


# --- TLS keeps its connections -------------------------------------------------------------------------


async def test_connections_over_tls_are_reused_although_session_tickets_arrive(
    make_upstream: MakeUpstream, identity: Identity
) -> None:
    upstream = make_upstream(ssl_context=identity.client())
    server = identity.server()
    server.num_tickets = 8
    with blocking_origin(HELLO, tls=server) as origin:
        for _ in range(30):
            assert await unary(upstream, origin.url) == b"hello"
        assert origin.requests == [30]
