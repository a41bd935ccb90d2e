"""How the suites use an `Upstream`: one request with a secret in it, and what its faults must never tell."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from llm_gateway.flow.ports.upstream import TransportError, Upstream, UpstreamReply
from llm_gateway.providers.base import UpstreamRequest

MakeUpstream = Callable[..., Upstream]
SECRET = "sk-do-not-tell"
LIMIT = 64 * 1024 * 1024
# Far beyond what anything here takes.
SOON = 10.0


def post(url: str, body: bytes = b'{"model":"m"}', **headers: str) -> UpstreamRequest:
    """Return a request as an adapter makes them; `_` in a header's name stands for `-`."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return UpstreamRequest(url=url, headers={"authorization": f"Bearer {SECRET}", **named}, body=body)


async def whole(reply: UpstreamReply) -> bytes:
    """Read a reply and let it go."""
    try:
        return await reply.read_all(LIMIT, SOON)
    finally:
        reply.close()


async def ask(upstream: Upstream, url: str, body: bytes = b"{}") -> tuple[int, bytes]:
    """Return a reply's status and body."""
    reply = await upstream.send(post(url, body), SOON)
    return reply.status, await whole(reply)


async def fault_of(doing: Awaitable[object]) -> TransportError:
    """Return the fault that ends `doing`, having seen that its message tells nothing."""
    with pytest.raises(TransportError) as caught:
        await doing
    for told in (SECRET, "http:", "https:", "127.0.0.1", "localhost", "authorization", "/v1"):
        assert told not in f"{caught.value} {caught.value.__cause__ or ''}"
    return caught.value


async def read_to_end(reply: UpstreamReply) -> list[bytes]:
    """Return the pieces that `read` gives."""
    pieces = []
    while data := await reply.read(SOON):
        pieces.append(data)
    return pieces
