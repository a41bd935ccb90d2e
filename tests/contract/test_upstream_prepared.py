"""Prepared requests reach the provider as those that are sent do, over plain sockets and TLS."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from llm_gateway.flow.ports.upstream import PendingReply, PreparedRequest, TransportError
from llm_gateway.infra.upstream.http11.pool import PooledUpstream
from llm_gateway.providers.base import UpstreamRequest
from llm_gateway.sockets.write_batch import WriteBatch
from tests.fakes.certificates import Identity
from tests.fakes.origin import HELLO, OK, Origin, Script, Visit, answers, origin_of
from tests.fakes.upstream_calls import SOON, whole

BODY = b'{"model":"m"}'


class Listener:
    """Waits for what the connection tells."""

    def __init__(self) -> None:
        self.told: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

    def on_event(self, on_time: bool, /) -> None:
        self.told.set_result(on_time)


def request(origin: Origin, request_id: str = "id-0", body: bytes = BODY) -> UpstreamRequest:
    headers = {"authorization": "Bearer sk", "x-request-id": request_id, "accept": "application/json"}
    return UpstreamRequest(origin.url(), headers, body)


async def sent(pool: PooledUpstream, one: UpstreamRequest) -> bytes:
    return await whole(await pool.send(one, SOON))


@asynccontextmanager
async def warm(script: Script, folder: Path, *, is_tls: bool) -> AsyncIterator[tuple[PooledUpstream, Origin]]:
    """Yield a pool with one idle connection, and its origin."""
    identity = Identity(folder, "localhost", "127.0.0.1")
    pool = PooledUpstream(
        connect_timeout=5, batch=WriteBatch(), ssl_context=identity.client() if is_tls else None
    )
    async with origin_of(script, tls=identity.server() if is_tls else None) as origin:
        try:
            assert await sent(pool, request(origin)) == b"hello"
            # Session tickets may still be on their way: a connection with unread input is not taken.
            await asyncio.sleep(0.02)
            yield pool, origin
        finally:
            await pool.close()


def prepared(pool: PooledUpstream, origin: Origin) -> PreparedRequest:
    found = pool.prepare(request(origin))
    assert found is not None
    return found


def send(
    one: PreparedRequest, request_id: str = "id-1", body: bytes = BODY, timeout: float = SOON
) -> tuple[PendingReply, Listener]:
    listener = Listener()
    pending = one.send(request_id, body, timeout, listener)
    assert pending is not None
    return pending, listener


async def body_of(pending: PendingReply, *, on_time: bool) -> bytes:
    return await whole(await pending.reply(on_time=on_time))


def then(act: Callable[[Visit], object], *pieces: bytes) -> Script:
    """Answer all requests but the second of the first connection, at which pieces are sent and `act` is called."""

    async def script(visit: Visit) -> None:
        await visit.answer(HELLO)
        if visit.number == 0:
            await visit.answer(*pieces)
            act(visit)
        else:
            await visit.keep_answering(HELLO)

    return script


tls_and_plain = pytest.mark.parametrize("is_tls", [False, True], ids=["plain", "tls"])


@tls_and_plain
async def test_it_reaches_the_provider_as_if_it_were_sent(tmp_path: Path, *, is_tls: bool) -> None:
    async with warm(answers(HELLO), tmp_path, is_tls=is_tls) as (pool, origin):
        one = prepared(pool, origin)
        for number in range(3):
            body = BODY + b" " * number
            pending, listener = send(one, f"id-{number}", body)
            assert await listener.told is True
            assert pending.whole(1000) == b"hello"
            pending.release()
            await sent(pool, request(origin, f"id-{number}", body))
        assert pool.connections() == {"busy": 0, "idle": 1}
        [visit] = origin.visits
        came = [(asked.line, asked.headers, asked.body) for asked in visit.asked[1:]]
        assert came[0::2] == came[1::2]


@tls_and_plain
async def test_a_reply_in_pieces_is_read_by_a_task(tmp_path: Path, *, is_tls: bool) -> None:
    async def script(visit: Visit) -> None:
        while True:
            await visit.answer(HELLO[:-3])
            await asyncio.sleep(0.02)
            await visit.send(HELLO[-3:])

    async with warm(script, tmp_path, is_tls=is_tls) as (pool, origin):
        pending, listener = send(prepared(pool, origin))
        assert await listener.told is True
        assert pending.whole(1000) is None
        assert await body_of(pending, on_time=True) == b"hello"
        assert pool.connections() == {"busy": 0, "idle": 1}
        assert len(origin.visits) == 1


@tls_and_plain
@pytest.mark.parametrize("act", [Visit.end, Visit.reset, Visit.cut], ids=["end", "reset", "cut"])
async def test_it_is_sent_once_more_if_its_connection_is_closed(
    tmp_path: Path, act: Callable[[Visit], object], *, is_tls: bool
) -> None:
    async with warm(then(act), tmp_path, is_tls=is_tls) as (pool, origin):
        pending, listener = send(prepared(pool, origin))
        assert await listener.told is True
        assert pending.whole(1000) is None
        assert await body_of(pending, on_time=True) == b"hello"
        assert [len(visit.asked) for visit in origin.visits] == [2, 1]
        first, second = origin.visits[0].asked[1], origin.visits[1].asked[0]
        assert (first.headers, first.body) == (second.headers, second.body)


@tls_and_plain
async def test_it_is_not_sent_again_once_the_reply_has_begun(tmp_path: Path, *, is_tls: bool) -> None:
    async with warm(then(Visit.end, OK), tmp_path, is_tls=is_tls) as (pool, origin):
        pending, listener = send(prepared(pool, origin))
        assert await listener.told is True
        with pytest.raises(TransportError) as failed:
            await body_of(pending, on_time=True)
        assert failed.value.kind == "cut"
        assert len(origin.visits) == 1
        # The event loop closes the socket in its next rounds.
        await asyncio.sleep(0.01)
        assert pool.connections() == {"busy": 0, "idle": 0}


@tls_and_plain
async def test_silence_is_told_and_a_timeout(tmp_path: Path, *, is_tls: bool) -> None:
    async def script(visit: Visit) -> None:
        await visit.answer(HELLO)
        await visit.request()
        assert await visit.left(5.0)

    async with warm(script, tmp_path, is_tls=is_tls) as (pool, origin):
        pending, listener = send(prepared(pool, origin), timeout=0.05)
        assert await listener.told is False
        with pytest.raises(TransportError) as failed:
            await pending.reply(on_time=False)
        assert failed.value.kind == "timeout"
        assert await origin.all_left()


@tls_and_plain
async def test_an_abandoned_request_drops_its_connection_and_tells_nothing(
    tmp_path: Path, *, is_tls: bool
) -> None:
    async with warm(answers(HELLO), tmp_path, is_tls=is_tls) as (pool, origin):
        pending, listener = send(prepared(pool, origin))
        pending.abandon()
        assert await origin.all_left()
        assert not listener.told.done()
        assert pool.connections() == {"busy": 0, "idle": 0}


@tls_and_plain
async def test_without_an_idle_connection_nothing_is_sent(tmp_path: Path, *, is_tls: bool) -> None:
    async with warm(answers(HELLO), tmp_path, is_tls=is_tls) as (pool, origin):
        one = prepared(pool, origin)
        send(one)
        assert one.send("id-2", BODY, SOON, Listener()) is None
        assert one.send("id-3", b" " * 300_000, SOON, Listener()) is None


async def test_a_connection_that_has_ended_is_told_as_an_event() -> None:
    """The end may come between taking a connection from the pool and writing to it."""
    async with origin_of(answers(HELLO)) as origin:
        pool = PooledUpstream(connect_timeout=5, batch=WriteBatch())
        await sent(pool, request(origin))
        [known] = pool._origins.values()
        connection = known.take()
        assert connection is not None
        connection.eof_received()
        listener = Listener()
        deadline = asyncio.get_running_loop().time() + 5
        connection.begin_listened(b"POST / HTTP/1.1\r\n\r\n", b"", listener, deadline)
        assert not listener.told.done()
        assert await listener.told is True
        connection.abort()
        await pool.close()


@pytest.mark.parametrize(
    "headers", [{"x-request-id": "a", "x": "a\nb"}, {"x": "1"}], ids=["invalid", "no id"]
)
async def test_what_cannot_be_prepared_has_to_be_sent(headers: dict[str, str]) -> None:
    pool = PooledUpstream(connect_timeout=5, batch=WriteBatch())
    assert pool.prepare(UpstreamRequest("http://127.0.0.1:9/v1", headers, b"{}")) is None
    await pool.close()
