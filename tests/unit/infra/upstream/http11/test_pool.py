"""The pool of all servers, over connections that a test opens by hand."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from llm_gateway.flow.ports.upstream import TransportError
from llm_gateway.infra.upstream.address import ServerAddress
from llm_gateway.infra.upstream.http11 import pool as pool_module
from llm_gateway.infra.upstream.http11.connection import Connection
from llm_gateway.infra.upstream.http11.pool import PooledUpstream
from llm_gateway.providers.base import UpstreamRequest
from tests.fakes.transports import Notes

EMPTY = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"


class Server:
    """Replaces the dialer: answers each request at once, or ends the connection when its script says None."""

    def __init__(self, *script: bytes | None) -> None:
        self.script = list(script)
        self.dialled: list[ServerAddress] = []
        self.requests: list[bytes] = []

    async def dial(self, server: ServerAddress, factory: Any, *_: object) -> Connection:
        self.dialled.append(server)
        connection: Connection = factory()
        notes = Notes()
        loop = asyncio.get_running_loop()

        def write(data: bytes) -> None:
            self.requests.append(bytes(data))
            answer = self.script.pop(0) if self.script else EMPTY
            loop.call_soon(
                *((connection.eof_received,) if answer is None else (connection.data_received, answer))
            )

        def abort() -> None:
            loop.call_soon(connection.connection_lost, None)

        notes.write = write  # type: ignore[method-assign, assignment]
        notes.abort = abort  # type: ignore[method-assign]
        connection.connection_made(cast("Any", notes))
        return connection

    def close(self) -> None:
        pass


def pool_over(server: Server, **options: float) -> PooledUpstream:
    upstream = PooledUpstream(connect_timeout=1.0, **options)  # type: ignore[arg-type]
    upstream._dialer = cast("Any", server)
    return upstream


async def exchange(upstream: PooledUpstream, url: str = "http://a/x") -> int:
    reply = await upstream.send(UpstreamRequest(url=url, headers={}, body=b"{}"), 5.0)
    reply.close()
    return reply.status


async def test_requests_to_one_server_share_a_connection_and_others_do_not() -> None:
    server = Server()
    upstream = pool_over(server)
    for url in ("http://a/x", "http://a/y", "http://a:80/z", "http://b/x", "http://a/x"):
        assert await exchange(upstream, url) == 200
    assert [each.host for each in server.dialled] == ["a", "b"]
    await upstream.close()


async def test_a_dead_idle_connection_is_replaced_once() -> None:
    server = Server(EMPTY, None, EMPTY)
    upstream = pool_over(server)
    assert [await exchange(upstream), await exchange(upstream)] == [200, 200]
    assert (len(server.dialled), len(server.requests)) == (2, 3)
    await upstream.close()


async def test_a_new_connection_that_ends_unanswered_is_an_error() -> None:
    server = Server(None)
    upstream = pool_over(server)
    with pytest.raises(TransportError) as caught:
        await exchange(upstream)
    assert (caught.value.kind, len(server.requests)) == ("cut", 1)
    await upstream.close()


async def test_a_malformed_reply_is_not_asked_for_again() -> None:
    server = Server(EMPTY, b"nonsense\r\n\r\n")
    upstream = pool_over(server)
    await exchange(upstream)
    with pytest.raises(TransportError) as caught:
        await exchange(upstream)
    assert (caught.value.kind, len(server.requests)) == ("protocol", 2)
    await upstream.close()


@pytest.mark.parametrize("url", ["ftp://a/", "http://u:p@a/", ""])
async def test_a_url_that_cannot_be_used_opens_no_connection(url: str) -> None:
    server = Server()
    upstream = pool_over(server)
    with pytest.raises(TransportError) as caught:
        await exchange(upstream, url)
    assert (caught.value.kind, server.dialled) == ("protocol", [])


async def test_known_urls_do_not_pile_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool_module, "_MAX_ROUTES", 10)
    server = Server()
    upstream = pool_over(server)
    for number in range(25):
        await exchange(upstream, f"http://a/{number}")
    assert len(upstream._routes) <= 10
    # Forgotten URLs still use the connection to their server.
    assert len(server.dialled) == 1
    await upstream.close()


async def test_servers_without_connections_are_forgotten() -> None:
    upstream = pool_over(Server(), idle_seconds=0.02)
    await exchange(upstream)
    async with asyncio.timeout(2):
        while upstream._origins:  # noqa: ASYNC110 - a timer of the pool does it
            await asyncio.sleep(0.005)
    assert upstream._routes == {}
    assert await exchange(upstream) == 200
    await upstream.close()
