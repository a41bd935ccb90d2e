"""How transports hold their connections: reuse, retries, deadlines, cancellation, back-pressure."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from llm_gateway.flow.ports.upstream import Upstream, UpstreamReply
from llm_gateway.infra.upstream.http11.pool import PooledUpstream
from llm_gateway.sockets.write_batch import WriteBatch
from tests.fakes.origin import HELLO, OK, Visit, answers, origin_of
from tests.fakes.upstream_calls import LIMIT, SOON, MakeUpstream, ask, fault_of, post, whole

CHUNKED = OK + b"transfer-encoding: chunked\r\n\r\n"
MIB = 1 << 20


async def until(true: Callable[[], bool], within: float = 2.0) -> None:
    """Wait for something that happens soon."""
    async with asyncio.timeout(within):
        while not true():  # noqa: ASYNC110 - many things, and a look now and then is enough
            await asyncio.sleep(0.002)


async def silent(visit: Visit) -> None:
    """Read a request and never answer."""
    await visit.request()


# --- reuse ---------------------------------------------------------------------------------------


async def test_one_connection_serves_one_request_after_the_other(upstream: Upstream) -> None:
    async with origin_of(answers(HELLO)) as origin:
        for _ in range(20):
            assert await ask(upstream, origin.url()) == (200, b"hello")
        assert len(origin.visits) == 1


async def test_requests_at_once_have_a_connection_each_and_keep_them(upstream: Upstream) -> None:
    async def script(visit: Visit) -> None:
        while True:
            await visit.request()
            await asyncio.sleep(0.02)
            await visit.send(HELLO)

    async with origin_of(script) as origin:
        for _ in range(3):
            replies = await asyncio.gather(*(ask(upstream, origin.url(f"/{n}")) for n in range(20)))
            assert set(replies) == {(200, b"hello")}
        assert len(origin.visits) == 20


async def test_origins_do_not_share_connections(upstream: Upstream) -> None:
    async with origin_of(answers(HELLO)) as one, origin_of(answers(HELLO)) as other:
        for origin in (one, other, one, other):
            await ask(upstream, origin.url())
        assert [len(origin.visits) for origin in (one, other)] == [1, 1]


@pytest.mark.parametrize("surplus", [b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil", b"evil"])
async def test_a_reply_with_bytes_behind_it_is_the_last_of_its_connection(
    upstream: Upstream, surplus: bytes
) -> None:
    async with origin_of(answers(HELLO + surplus)) as origin:
        for _ in range(3):
            assert await ask(upstream, origin.url()) == (200, b"hello")
        assert len(origin.visits) == 3


@pytest.mark.parametrize("surplus", [b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil", b"evil"])
async def test_bytes_that_nobody_asked_for_end_an_idle_connection(upstream: Upstream, surplus: bytes) -> None:
    async def script(visit: Visit) -> None:
        await visit.answer(HELLO)
        await asyncio.sleep(0.05)
        await visit.send(surplus)
        await visit.keep_answering(HELLO)

    async with origin_of(script) as origin:
        for _ in range(3):
            assert await ask(upstream, origin.url()) == (200, b"hello")
            await asyncio.sleep(0.15)


async def test_an_idle_connection_that_the_origin_closed_is_not_used(upstream: Upstream) -> None:
    async def script(visit: Visit) -> None:
        await visit.answer(HELLO)
        await asyncio.sleep(0.02)
        visit.end()

    async with origin_of(script) as origin:
        for _ in range(3):
            assert await ask(upstream, origin.url()) == (200, b"hello")
            assert await origin.all_left()
            await asyncio.sleep(0.02)
        assert [len(visit.asked) for visit in origin.visits] == [1, 1, 1]


def dying(die: Callable[[Visit], Awaitable[None]]) -> Callable[[Visit], Awaitable[None]]:
    """Answer each connection's first request; the first connection dies at its second one."""

    async def script(visit: Visit) -> None:
        await visit.answer(HELLO)
        if visit.number == 0:
            await die(visit)
        else:
            await visit.keep_answering(HELLO)

    return script


async def _end(visit: Visit) -> None:
    await visit.request()
    visit.end()


async def _reset(visit: Visit) -> None:
    await visit.request()
    visit.reset()


async def _reset_in_the_body(visit: Visit) -> None:
    await visit.head()
    visit.reset()


@pytest.mark.parametrize("die", [_end, _reset, _reset_in_the_body])
@pytest.mark.parametrize("size", [2, 4 * MIB])
async def test_a_reused_connection_that_dies_unanswered_is_replaced_once(
    upstream: Upstream, die: Callable[[Visit], Awaitable[None]], size: int
) -> None:
    async with origin_of(dying(die)) as origin:
        assert await ask(upstream, origin.url()) == (200, b"hello")
        assert await ask(upstream, origin.url(), b"x" * size) == (200, b"hello")
        assert len(origin.visits) == 2
        assert origin.visits[1].asked[0].body == b"x" * size


async def test_a_fresh_connection_that_dies_unanswered_is_not_replaced(upstream: Upstream) -> None:
    async with origin_of(_end) as origin:
        assert (await fault_of(ask(upstream, origin.url()))).kind == "cut"
        assert len(origin.visits) == 1


@pytest.mark.parametrize("begun", [b"H", b"HTTP/1.1 200 OK\r\ncontent-le", b"HTTP/1.1 100 Go on\r\n\r\n"])
async def test_a_reused_connection_that_dies_after_a_byte_is_not_replaced(
    upstream: Upstream, begun: bytes
) -> None:
    async def die(visit: Visit) -> None:
        await visit.answer(begun)
        visit.end()

    async with origin_of(dying(die)) as origin:
        await ask(upstream, origin.url())
        assert (await fault_of(ask(upstream, origin.url()))).kind == "cut"
        assert len(origin.visits) == 1


async def test_a_request_is_sent_twice_at_most(upstream: Upstream) -> None:
    async def script(visit: Visit) -> None:
        if visit.number == 0:
            await visit.answer(HELLO)
        await _end(visit)

    async with origin_of(script) as origin:
        await ask(upstream, origin.url())
        assert (await fault_of(ask(upstream, origin.url()))).kind == "cut"
        assert [len(visit.asked) for visit in origin.visits] == [2, 1]


async def test_the_pool_drops_what_is_idle_and_forgets_what_is_gone() -> None:
    upstream = PooledUpstream(connect_timeout=SOON, idle_seconds=0.05, batch=WriteBatch())
    async with origin_of(answers(HELLO)) as one, origin_of(answers(CHUNKED)) as other:
        await asyncio.gather(*(ask(upstream, one.url(f"/{number}")) for number in range(20)))
        reply = await upstream.send(post(other.url()), SOON)
        assert await one.all_left()
        await until(lambda: len(upstream._origins) == 1)
        assert len(upstream._routes) <= 1
        assert other.open == 1
        reply.close()
        assert await ask(upstream, one.url()) == (200, b"hello")
        await upstream.close()
        fault = await fault_of(upstream.send(post(one.url()), SOON))
        assert fault.kind == "connect"


# --- deadlines -----------------------------------------------------------------------------------


@pytest.mark.parametrize("begun", [b"", b"HTTP/1.1 200 OK\r\nx: y", b"HTTP/1.1 100 Go on\r\n\r\n"])
async def test_a_head_that_does_not_come_in_time(upstream: Upstream, begun: bytes) -> None:
    async def script(visit: Visit) -> None:
        await visit.answer(HELLO)
        await visit.answer(begun)

    async with origin_of(script) as origin:
        await ask(upstream, origin.url())
        started = time.monotonic()
        assert (await fault_of(upstream.send(post(origin.url()), 0.1))).kind == "timeout"
        assert 0.05 < time.monotonic() - started < 2.0
        assert await origin.all_left()


async def test_a_read_that_timed_out_or_was_cancelled_loses_nothing(upstream: Upstream) -> None:
    go_on = asyncio.Queue[bytes]()

    async def script(visit: Visit) -> None:
        await visit.answer(CHUNKED)
        while piece := await go_on.get():
            await visit.send(piece)
        await visit.keep_answering(HELLO)

    async def nothing_yet(reply: UpstreamReply) -> None:
        for timeout in (0.0, 0.02):
            assert (await fault_of(reply.read(timeout))).kind == "timeout"
        reading = asyncio.ensure_future(reply.read(SOON))
        await asyncio.sleep(0.01)
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading

    async with origin_of(script) as origin:
        reply = await upstream.send(post(origin.url()), SOON)
        for piece, data in [
            (b"3\r\none\r\n", b"one"),
            (b"6\r\ntwo", b"two"),
            (b"six\r\n", b"six"),
            (b"0\r\n\r\n", b""),
        ]:
            await nothing_yet(reply)
            go_on.put_nowait(piece)
            assert await reply.read(SOON) == data
        go_on.put_nowait(b"")
        reply.close()
        assert await ask(upstream, origin.url()) == (200, b"hello")
        assert len(origin.visits) == 1


async def test_a_read_without_time_gives_what_is_here(upstream: Upstream) -> None:
    async with origin_of(answers(HELLO)) as origin:
        reply = await upstream.send(post(origin.url()), SOON)
        await asyncio.sleep(0.05)
        assert await reply.read(0.0) == b"hello"
        assert await reply.read(0.0) == b""
        reply.close()


async def test_a_gap_ends_a_read_however_long_the_reply_was_well(upstream: Upstream) -> None:
    async def script(visit: Visit) -> None:
        await visit.answer(CHUNKED)
        for _ in range(10):
            await visit.send(b"4\r\ntick\r\n")
            await asyncio.sleep(0.02)

    async with origin_of(script) as origin:
        reply = await upstream.send(post(origin.url()), SOON)
        got = b""
        while len(got) < 40:
            got += await reply.read(0.5)
        started = time.monotonic()
        assert (await fault_of(reply.read(0.1))).kind == "timeout"
        assert 0.05 < time.monotonic() - started < 2.0
        reply.close()
        assert await origin.all_left()


async def test_chunks_without_bytes_do_not_hold_a_read_up(upstream: Upstream) -> None:
    async def script(visit: Visit) -> None:
        await visit.answer(CHUNKED + b"5")
        while True:
            await visit.send(b";x")
            await asyncio.sleep(0.01)

    async with origin_of(script) as origin:
        reply = await upstream.send(post(origin.url()), SOON)
        assert (await fault_of(reply.read(0.1))).kind == "timeout"
        reply.close()


async def test_the_whole_body_has_one_deadline(upstream: Upstream) -> None:
    async def script(visit: Visit) -> None:
        await visit.answer(CHUNKED)
        while True:
            await visit.send(b"4\r\ntick\r\n")
            await asyncio.sleep(0.01)

    async with origin_of(script) as origin:
        reply = await upstream.send(post(origin.url()), SOON)
        started = time.monotonic()
        assert (await fault_of(reply.read_all(LIMIT, 0.15))).kind == "timeout"
        assert 0.1 < time.monotonic() - started < 2.0
        reply.close()
        assert await origin.all_left()


async def test_deadlines_of_requests_before_do_not_matter(upstream: Upstream) -> None:
    async def script(visit: Visit) -> None:
        while True:
            await visit.request()
            await asyncio.sleep(0.06)
            await visit.send(HELLO)

    async with origin_of(script) as origin:
        for timeout in (5.0, 0.5, 1.0, 5.0, 0.4):
            reply = await upstream.send(post(origin.url()), timeout)
            assert await reply.read_all(9, timeout) == b"hello"
            reply.close()
        assert (await fault_of(upstream.send(post(origin.url()), 0.02))).kind == "timeout"
        assert len(origin.visits) == 1


# --- letting go ------------------------------------------------------------------------------------


async def test_a_closed_reply_that_was_not_read_drops_its_connection(upstream: Upstream) -> None:
    async with origin_of(answers(CHUNKED + b"5\r\nhello\r\n")) as origin:
        reply = await upstream.send(post(origin.url()), SOON)
        for _ in range(2):
            reply.close()
        assert await origin.all_left()


async def test_a_stream_whose_end_comes_a_moment_after_its_last_event_is_kept(upstream: Upstream) -> None:
    let_go, ended = asyncio.Event(), asyncio.Event()

    async def script(visit: Visit) -> None:
        while True:
            await visit.answer(CHUNKED + b"e\r\ndata: [DONE]\n\n\r\n")
            await let_go.wait()
            await visit.send(b"0\r\n\r\n")
            ended.set()

    async with origin_of(script) as origin:
        for _ in range(3):
            reply = await upstream.send(post(origin.url()), SOON)
            assert await reply.read(SOON) == b"data: [DONE]\n\n"
            reply.finish()
            reply.close()
            let_go.set()
            await ended.wait()
            # The end is on its way, within this very event loop.
            await asyncio.sleep(0.05)
            let_go.clear()
            ended.clear()
        assert len(origin.visits) == 1


async def test_a_finished_reply_that_is_complete_is_kept_at_once(upstream: Upstream) -> None:
    async with origin_of(answers(CHUNKED + b"5\r\nhello\r\n0\r\n\r\n")) as origin:
        for _ in range(3):
            reply = await upstream.send(post(origin.url()), SOON)
            assert await reply.read(SOON) == b"hello"
            assert await reply.read(SOON) == b""
            reply.finish()
        assert len(origin.visits) == 1


@pytest.mark.parametrize("rest", [b"", b"4\r\nmore\r\n"])
async def test_a_finished_reply_that_does_not_end_is_dropped(upstream: Upstream, rest: bytes) -> None:
    async def script(visit: Visit) -> None:
        await visit.answer(CHUNKED + b"e\r\ndata: [DONE]\n\n\r\n")
        while not await visit.left(0.01):
            await visit.send(rest)

    async with origin_of(script) as origin:
        reply = await upstream.send(post(origin.url()), SOON)
        assert await reply.read(SOON) == b"data: [DONE]\n\n"
        reply.finish()
        assert await origin.all_left(5.0)


async def test_a_finished_reply_of_an_origin_that_goes_is_no_matter(upstream: Upstream) -> None:
    async def script(visit: Visit) -> None:
        await visit.answer(CHUNKED + b"e\r\ndata: [DONE]\n\n\r\n")
        await asyncio.sleep(0.02)
        visit.reset()

    async with origin_of(script) as origin:
        for _ in range(2):
            reply = await upstream.send(post(origin.url()), SOON)
            assert await reply.read(SOON) == b"data: [DONE]\n\n"
            reply.finish()
            await asyncio.sleep(0.05)
        assert await origin.all_left()


async def test_close_drops_idle_and_busy_connections(upstream: Upstream) -> None:
    async with origin_of(answers(HELLO)) as origin, origin_of(answers(CHUNKED)) as endless:
        await ask(upstream, origin.url())
        reply = await upstream.send(post(endless.url()), SOON)
        reading = asyncio.ensure_future(fault_of(reply.read(SOON)))
        await asyncio.sleep(0.01)
        await upstream.close()
        assert await origin.all_left()
        assert await endless.all_left()
        assert (await reading).kind == "cut"
        reply.close()


# --- cancellation ----------------------------------------------------------------------------------


async def _send(upstream: Upstream, url: str) -> None:
    await upstream.send(post(url), SOON)


async def _upload(upstream: Upstream, url: str) -> None:
    await upstream.send(post(url, b"x" * (32 * MIB)), SOON)


async def _read(upstream: Upstream, url: str) -> None:
    reply = await upstream.send(post(url), SOON)
    try:
        while await reply.read(SOON):
            pass
    finally:
        reply.close()


async def _read_all(upstream: Upstream, url: str) -> None:
    await whole(await upstream.send(post(url), SOON))


async def _head_only(visit: Visit) -> None:
    await visit.head()
    await asyncio.sleep(0.3)


@pytest.mark.parametrize(
    ("doing", "script"),
    [
        (_send, silent),
        (_send, answers(b"HTTP/1.1 200 OK\r\nx")),
        (_upload, _head_only),
        (_read, answers(CHUNKED)),
        (_read, answers(CHUNKED + b"5\r\nhello\r\n")),
        (_read_all, answers(CHUNKED + b"5\r\nhello\r\n")),
    ],
)
async def test_a_cancelled_request_drops_its_connection_at_once(
    upstream: Upstream,
    doing: Callable[[Upstream, str], Awaitable[None]],
    script: Callable[[Visit], Awaitable[None]],
) -> None:
    async with origin_of(script) as origin:
        task = asyncio.ensure_future(doing(upstream, origin.url()))
        await until(lambda: bool(origin.visits))
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await origin.all_left()


async def _mood(visit: Visit) -> None:
    """Answer well, slowly, in pieces, in part, or not at all."""
    dice = random.Random(visit.number)
    while True:
        await visit.request()
        mood = dice.randrange(6)
        await asyncio.sleep(dice.random() * 0.01)
        if mood == 0:
            await visit.send(HELLO[:20])
            visit.reset()
        elif mood == 1:
            await visit.send(HELLO[:20], HELLO[20:])
        elif mood == 2:
            await visit.send(CHUNKED + b"5\r\nhello\r\n", b"5\r\nworld\r\n", b"0\r\n\r\n")
        elif mood == 3:
            visit.end()
        elif mood == 4:
            await visit.left(0.1)
        await visit.send(HELLO)


def _sockets() -> int:
    links = []
    for entry in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            links.append(str(entry.readlink()))
    return sum(link.startswith("socket:") for link in links)


async def test_a_storm_of_cancelled_requests_leaks_nothing(upstream: Upstream) -> None:
    dice = random.Random(7)
    async with origin_of(_mood) as stormy, origin_of(answers(HELLO)) as calm:
        before = _sockets(), len(asyncio.all_tasks())

        async def one() -> None:
            reply = await upstream.send(post(stormy.url()), SOON)
            try:
                while await reply.read(SOON):
                    pass
                if dice.random() < 0.3:
                    reply.finish()
            finally:
                reply.close()

        async def hang_up(task: asyncio.Task[None], after: float) -> None:
            await asyncio.sleep(after)
            task.cancel()

        for _ in range(6):
            tasks = [asyncio.ensure_future(one()) for _ in range(50)]
            hanging_up = [hang_up(task, dice.random() * 0.03) for task in tasks]
            await asyncio.gather(*tasks, *hanging_up, return_exceptions=True)
        replies = await asyncio.gather(*(ask(upstream, calm.url()) for _ in range(50)))
        assert replies == [(200, b"hello")] * 50
        await upstream.close()
        assert await stormy.all_left(2.0)
        assert await calm.all_left(2.0)
        await until(lambda: _sockets() <= before[0])
        await until(lambda: len(asyncio.all_tasks()) <= before[1])


# --- back-pressure -----------------------------------------------------------------------------------


async def test_a_slow_reader_slows_the_origin_down(upstream: Upstream) -> None:
    size = 48 * MIB
    sent = 0

    async def script(visit: Visit) -> None:
        nonlocal sent
        await visit.answer(OK + b"content-length: %d\r\n\r\n" % size)
        while sent < size:
            await visit.send(bytes(MIB))
            sent += MIB
        await visit.keep_answering(HELLO)

    async with origin_of(script) as origin:
        reply = await upstream.send(post(origin.url()), SOON)
        await asyncio.sleep(0.3)
        assert sent < 20 * MIB
        got = 0
        while data := await reply.read(SOON):
            got += len(data)
            assert len(data) < 4 * MIB
        reply.close()
        assert got == size
        assert await ask(upstream, origin.url()) == (200, b"hello")
        assert len(origin.visits) == 1


@pytest.mark.parametrize("size", [20_000, 300_000, 24 * MIB])
async def test_a_large_request_reaches_an_origin_that_reads_slowly(upstream: Upstream, size: int) -> None:
    body = random.Random(1).randbytes(size)
    taken = bytearray()

    async def script(visit: Visit) -> None:
        await visit.head()
        await asyncio.sleep(0.1)
        while len(taken) < size:
            taken.extend(await visit.reader.read(MIB))
        await visit.send(HELLO)
        await visit.keep_answering(HELLO)

    async with origin_of(script) as origin:
        assert await ask(upstream, origin.url(), body) == (200, b"hello")
        assert taken == body
        assert await ask(upstream, origin.url()) == (200, b"hello")
        assert len(origin.visits) == 1


async def test_a_refusal_before_the_request_was_sent_is_a_reply(upstream: Upstream) -> None:
    refusal = b"HTTP/1.1 413 Too much\r\ncontent-length: 5\r\n\r\nsorry"

    async def script(visit: Visit) -> None:
        if visit.number:
            await visit.keep_answering(HELLO)
        await visit.head()
        await visit.send(refusal)
        # Its socket stays full.
        await asyncio.sleep(1.0)

    async with origin_of(script) as origin:
        assert await ask(upstream, origin.url(), b"x" * (32 * MIB)) == (413, b"sorry")
        assert await ask(upstream, origin.url()) == (200, b"hello")
        assert len(origin.visits) == 2


@pytest.mark.parametrize("size", [20_000, 200_000, 400_000, 4 * MIB, 24 * MIB])
@pytest.mark.parametrize("early", [HELLO, CHUNKED + b"5\r\nhello\r\n0\r\n\r\n"])
async def test_a_success_before_the_request_was_sent_is_the_last_reply_of_its_connection(
    upstream: Upstream, size: int, early: bytes
) -> None:
    async def script(visit: Visit) -> None:
        if visit.number:
            await visit.keep_answering(HELLO)
        head = await visit.head()
        await visit.send(early)
        await asyncio.sleep(0.1)
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        await visit.reader.readexactly(length)
        await visit.keep_answering(HELLO)

    async with origin_of(script, receive_buffer=4096) as origin:
        assert await ask(upstream, origin.url(), b"x" * size) == (200, b"hello")
        assert await ask(upstream, origin.url()) == (200, b"hello")
        assert len(origin.visits) == 2


async def test_a_large_request_that_is_not_taken_ends_in_time(upstream: Upstream) -> None:
    async def script(visit: Visit) -> None:
        await visit.head()
        await asyncio.sleep(0.4)

    async with origin_of(script) as origin:
        fault = await fault_of(upstream.send(post(origin.url(), b"x" * (32 * MIB)), 0.1))
        assert fault.kind == "timeout"
        assert await origin.all_left(2.0)


async def test_open_streams_do_not_stand_in_each_others_way(make_upstream: MakeUpstream) -> None:
    """One slow stream, many others, and none waits for another."""
    upstream = make_upstream()

    async def script(visit: Visit) -> None:
        await visit.answer(CHUNKED + b"5\r\nhello\r\n")

    async with origin_of(script) as streams, origin_of(answers(HELLO)) as unary:
        replies = [await upstream.send(post(streams.url()), SOON) for _ in range(150)]
        assert await ask(upstream, unary.url()) == (200, b"hello")
        for reply in replies:
            assert await reply.read(SOON) == b"hello"
            reply.close()
        assert await streams.all_left(2.0)
