"""Opening connections: which limit expired, how sockets are set up, and what is said when it fails."""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl

import pytest

from llm_gateway.flow.ports.upstream import TransportError
from llm_gateway.infra.upstream.address import ServerAddress
from llm_gateway.infra.upstream.dialer import Dialer, connect_error
from tests.fakes.origin import HELLO, answers, origin_of


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (ssl.SSLCertVerificationError("secret.host"), "TLS certificate is not trusted"),
        (ssl.SSLError("secret.host"), "TLS handshake"),
        (socket.gaierror("secret.host"), "does not resolve"),
        (UnicodeError("secret.host"), "does not resolve"),
        (ConnectionRefusedError("secret.host"), "refused the connection"),
        (OSError(errno.ENETUNREACH, "secret.host"), "could not connect"),
        (None, "could not connect"),
    ],
)
def test_a_failed_connect_is_described_without_its_host(error: BaseException | None, message: str) -> None:
    failure = connect_error(error)
    assert failure.kind == "connect"
    assert message in str(failure)
    assert "secret.host" not in str(failure)


@pytest.mark.parametrize(
    ("timeout", "own", "kind"),
    [(0.02, None, "timeout"), (5.0, 0.02, "connect"), (0.02, 1.0, "timeout")],
)
async def test_the_error_names_the_limit_that_expired(
    monkeypatch: pytest.MonkeyPatch, timeout: float, own: float | None, kind: str
) -> None:
    async def never(*_: object) -> None:
        await asyncio.Event().wait()

    dialer = Dialer(connect_timeout=5.0, allow_private=True, ssl_context=None)
    monkeypatch.setattr(dialer, "_open", never)
    with pytest.raises(TransportError) as caught:
        await dialer.dial(ServerAddress("http", "a", 80), asyncio.Protocol, timeout, own)
    assert caught.value.kind == kind


async def test_a_timeout_of_the_kernel_is_a_failed_connect(monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(*_: object) -> None:
        raise TimeoutError(errno.ETIMEDOUT, "timed out")

    dialer = Dialer(connect_timeout=5.0, allow_private=True, ssl_context=None)
    monkeypatch.setattr(dialer, "_open", fail)
    with pytest.raises(TransportError) as caught:
        await dialer.dial(ServerAddress("http", "a", 80), asyncio.Protocol, 1.0)
    assert caught.value.kind == "connect"


async def test_a_socket_sends_at_once_and_notices_that_its_peer_is_gone() -> None:
    class Opened(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            self.transport = transport

    dialer = Dialer(connect_timeout=5.0, allow_private=True, ssl_context=None)
    async with origin_of(answers(HELLO)) as origin:
        port = int(origin.base.rpartition(":")[2])
        opened = await dialer.dial(ServerAddress("http", "127.0.0.1", port), Opened, 5.0)
        sock = opened.transport.get_extra_info("socket")
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        opened.transport.close()
    dialer.close()
