"""How transports reach an origin: names, addresses, TLS, proxies; and what they say when they do not."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from llm_gateway.flow.ports.upstream import Upstream
from tests.fakes.certificates import Identity
from tests.fakes.origin import HELLO, OK, Visit, answers, origin_of
from tests.fakes.upstream_calls import SOON, MakeUpstream, ask, fault_of, post

MIB = 1 << 20


@pytest.fixture(scope="module")
def identity(tmp_path_factory: pytest.TempPathFactory) -> Identity:
    return Identity(tmp_path_factory.mktemp("tls"), "localhost", "127.0.0.1")


# --- no connection -------------------------------------------------------------------------------


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


async def test_a_refused_connection_is_a_connect_fault(upstream: Upstream) -> None:
    fault = await fault_of(upstream.send(post(f"http://127.0.0.1:{_free_port()}/v1"), SOON))
    assert fault.kind == "connect"
    assert "refused" in str(fault)


async def test_a_name_that_does_not_resolve_is_a_connect_fault(upstream: Upstream) -> None:
    for host in ("nowhere.invalid", "a" * 70 + ".invalid", "b\u00fcro.invalid"):
        fault = await fault_of(upstream.send(post(f"http://{host}/v1"), SOON))
        assert fault.kind == "connect"
        assert "resolve" in str(fault)


@pytest.fixture
def full_port() -> Iterator[int]:
    """Yield a port whose queue of connections is full: one more is neither taken nor refused."""
    with contextlib.ExitStack() as open_sockets:
        listening = open_sockets.enter_context(socket.socket())
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        for _ in range(4):
            waiting = open_sockets.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listening.getsockname())
        time.sleep(0.05)
        yield listening.getsockname()[1]


async def test_a_connection_that_takes_too_long(make_upstream: MakeUpstream, full_port: int) -> None:
    upstream = make_upstream(connect_timeout=0.2)
    started = time.monotonic()
    fault = await fault_of(upstream.send(post(f"http://127.0.0.1:{full_port}/v1"), SOON))
    assert (fault.kind, 0.15 < time.monotonic() - started < 2.0) == ("connect", True)


async def test_a_request_may_bring_its_own_time_to_connect(
    make_upstream: MakeUpstream, full_port: int
) -> None:
    request = post(f"http://127.0.0.1:{full_port}/v1")
    request.connect_timeout = 0.2
    started = time.monotonic()
    fault = await fault_of(make_upstream(connect_timeout=SOON).send(request, SOON))
    assert (fault.kind, 0.15 < time.monotonic() - started < 2.0) == ("connect", True)


async def test_a_request_whose_time_runs_out_while_it_connects(upstream: Upstream, full_port: int) -> None:
    fault = await fault_of(upstream.send(post(f"http://127.0.0.1:{full_port}/v1"), 0.1))
    assert fault.kind == "timeout"


async def test_a_request_cancelled_while_it_connects(upstream: Upstream, full_port: int) -> None:
    task = asyncio.ensure_future(upstream.send(post(f"http://127.0.0.1:{full_port}/v1"), SOON))
    await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_many_requests_to_a_dead_origin_leave_nothing_behind(upstream: Upstream) -> None:
    before = len(asyncio.all_tasks())
    url = f"http://localhost:{_free_port()}/v1"
    faults = await asyncio.gather(*(fault_of(upstream.send(post(url), SOON)) for _ in range(50)))
    assert {fault.kind for fault in faults} == {"connect"}
    await asyncio.sleep(0.05)
    assert len(asyncio.all_tasks()) <= before


# --- addresses -----------------------------------------------------------------------------------


async def test_a_name_is_resolved(upstream: Upstream) -> None:
    async with origin_of(answers(HELLO)) as origin:
        url = origin.url().replace("127.0.0.1", "localhost")
        assert await ask(upstream, url) == (200, b"hello")
        assert await ask(upstream, url) == (200, b"hello")
        assert origin.visits[0].asked[0].header("host") == origin.base.replace(
            "http://127.0.0.1", "localhost"
        )
        assert len(origin.visits) == 1


def _has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as sock:
            sock.bind(("::1", 0))
    except OSError:
        return False
    return True


@pytest.mark.skipif(not _has_ipv6(), reason="no IPv6 loopback here")
async def test_an_ipv6_address_is_reached(upstream: Upstream) -> None:
    async with origin_of(answers(HELLO), host="::1") as origin:
        assert await ask(upstream, origin.url()) == (200, b"hello")
        assert origin.visits[0].asked[0].header("host") == origin.base.removeprefix("http://")


async def test_the_other_address_is_tried(upstream: Upstream, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name with two addresses, of which the first refuses."""
    both = _two_addresses(monkeypatch, "127.0.0.2", "127.0.0.1")
    async with origin_of(answers(HELLO)) as origin:
        url = origin.url().replace("127.0.0.1", "two.test")
        assert await ask(upstream, url) == (200, b"hello")
    assert both == ["two.test"]


def _two_addresses(monkeypatch: pytest.MonkeyPatch, *addresses: str) -> list[str]:
    """Let one name have these addresses, whoever asks."""
    real = socket.getaddrinfo
    asked: list[str] = []

    def found(host: str, port: int, *args: int, **more: int) -> list[tuple[object, ...]]:
        if not str(host).endswith(".test"):
            return list(real(host, port, *args, **more))
        asked.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in addresses]

    monkeypatch.setattr(socket, "getaddrinfo", found)

    async def from_loop(_loop: object, host: str, port: int, **more: int) -> list[tuple[object, ...]]:
        return found(host, port, **more)

    monkeypatch.setattr(type(asyncio.get_running_loop()), "getaddrinfo", from_loop, raising=False)
    return asked


PRIVATE = [
    "127.0.0.1",
    "localhost",
    "10.1.2.3",
    "[::1]",
    "[::ffff:127.0.0.1]",
    "169.254.169.254",
    "0.0.0.0",
]


@pytest.mark.parametrize("host", PRIVATE)
async def test_private_addresses_are_refused_where_that_is_asked_for(
    make_upstream: MakeUpstream, host: str
) -> None:
    async with origin_of(answers(HELLO)) as origin:
        upstream = make_upstream(allow_private=False, connect_timeout=1.0)
        port = origin.base.rpartition(":")[2]
        fault = await fault_of(upstream.send(post(f"http://{host}:{port}/v1"), SOON))
        assert fault.kind == "connect"
        assert "ALLOW_PRIVATE_UPSTREAMS" in str(fault)
        odd = f"http://127.1:{port}/v1"
        assert (await fault_of(upstream.send(post(odd), SOON))).kind == "connect"
        assert origin.visits == []


# --- TLS -----------------------------------------------------------------------------------------


async def test_a_certificate_that_nobody_signed_is_not_trusted(
    upstream: Upstream, identity: Identity
) -> None:
    async with origin_of(answers(HELLO), tls=identity.server()) as origin:
        fault = await fault_of(ask(upstream, origin.url()))
        assert fault.kind == "connect"
        assert "certificate" in str(fault)
        assert all(not visit.asked for visit in origin.visits)


async def test_a_certificate_for_another_host_is_not_trusted(
    make_upstream: MakeUpstream, tmp_path: Path
) -> None:
    other = Identity(tmp_path, "elsewhere.example")
    upstream = make_upstream(ssl_context=other.client())
    async with origin_of(answers(HELLO), tls=other.server()) as origin:
        fault = await fault_of(ask(upstream, origin.url()))
        assert (fault.kind, "elsewhere" in str(fault)) == ("connect", False)


async def test_plain_http_at_the_other_end_is_no_tls(upstream: Upstream) -> None:
    async def script(visit: Visit) -> None:
        await visit.reader.read(1)
        await visit.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    async with origin_of(script) as origin:
        fault = await fault_of(ask(upstream, origin.url().replace("http", "https")))
        assert fault.kind == "connect"


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_tls_with_a_trusted_certificate(
    make_upstream: MakeUpstream, identity: Identity, host: str
) -> None:
    upstream = make_upstream(ssl_context=identity.client())
    body = bytes(range(256)) * 20_000
    async with origin_of(
        answers(OK + b"content-length: %d\r\n\r\n" % len(body), body), tls=identity.server()
    ) as origin:
        url = origin.url().replace("127.0.0.1", host)
        for size in (2, 20_000, 3 * MIB):
            assert await ask(upstream, url, b"x" * size) == (200, body)
        assert len(origin.visits) == 1
        await upstream.close()
        assert await origin.all_left()


async def test_over_tls_a_body_without_a_length_ends_with_a_farewell(
    make_upstream: MakeUpstream, identity: Identity, not_with_aiohttp: Callable[[str], None]
) -> None:
    async def script(visit: Visit) -> None:
        await visit.answer(OK + b"\r\nhello")
        await asyncio.sleep(0.02)
        if visit.number:
            visit.cut()
        else:
            visit.end()

    not_with_aiohttp("it takes the end of the socket for the end of the body")
    upstream = make_upstream(ssl_context=identity.client())
    async with origin_of(script, tls=identity.server()) as origin:
        assert await ask(upstream, origin.url()) == (200, b"hello")
        assert (await fault_of(ask(upstream, origin.url()))).kind == "cut"


async def test_over_tls_a_reset_and_a_dead_idle_connection(
    make_upstream: MakeUpstream, identity: Identity
) -> None:
    async def script(visit: Visit) -> None:
        await visit.answer(HELLO)
        await visit.request()
        if visit.number == 0:
            visit.reset()
        elif visit.number == 1:
            visit.end()
        else:
            await visit.send(OK + b"content-length: 9\r\n\r\nhello")
            await asyncio.sleep(0.02)
            visit.cut()

    upstream = make_upstream(ssl_context=identity.client())
    async with origin_of(script, tls=identity.server()) as origin:
        for _ in range(3):
            assert await ask(upstream, origin.url()) == (200, b"hello")
        assert (await fault_of(ask(upstream, origin.url()))).kind == "cut"
        assert len(origin.visits) == 3


async def test_over_tls_a_cancelled_stream_is_dropped(
    make_upstream: MakeUpstream, identity: Identity
) -> None:
    async def script(visit: Visit) -> None:
        await visit.answer(OK + b"transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n")

    upstream = make_upstream(ssl_context=identity.client())
    async with origin_of(script, tls=identity.server()) as origin:
        task = asyncio.ensure_future(ask(upstream, origin.url()))
        await asyncio.sleep(0.1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await origin.all_left()


async def test_a_tls_handshake_that_never_comes(make_upstream: MakeUpstream) -> None:
    async def script(visit: Visit) -> None:
        await visit.left(5.0)

    upstream = make_upstream(connect_timeout=0.2)
    async with origin_of(script) as origin:
        fault = await fault_of(ask(upstream, origin.url().replace("http", "https")))
        assert fault.kind == "connect"
        assert await origin.all_left()
