"""A client that reads nothing of its stream loses its connection, and the provider's is closed with it."""

from __future__ import annotations

import asyncio
import json
import socket

import pytest

from tests.e2e.conftest import Launch
from tests.e2e.gateway_process import eventually
from tests.fakes.origin import OK, Visit, origin_of

CHUNK = {"id": "x", "object": "chat.completion.chunk", "created": 1, "model": "m"}
TEXT = {"choices": [{"index": 0, "delta": {"role": "assistant", "content": "x" * 60_000}}]}
EVENT = b"data: " + json.dumps(CHUNK | TEXT).encode() + b"\n\n"


async def _endless(visit: Visit) -> None:
    await visit.answer(OK + b"content-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
    while True:
        await visit.send(b"%x\r\n%b\r\n" % (len(EVENT), EVENT))
        await asyncio.sleep(0)


@pytest.mark.parametrize("transport", ["pool", "aiohttp"])
async def test_a_stream_that_nobody_reads(launch: Launch, transport: str) -> None:
    gateway = launch(UPSTREAM_TRANSPORT=transport, SEND_TIMEOUT=1)
    async with origin_of(_endless) as origin:
        gateway.create_provider("endless", origin.url("/v1"), model_mapping={"m": "m"})
        key = gateway.create_credential("deaf")
        body = json.dumps({"model": "m", "stream": True, "messages": [{"role": "user", "content": "hi"}]})
        head = (
            f"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {key}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}"
        )
        loop = asyncio.get_running_loop()
        with socket.socket() as deaf:
            deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            deaf.setblocking(False)
            await loop.sock_connect(deaf, ("127.0.0.1", gateway.port))
            await loop.sock_sendall(deaf, head.encode())
            await asyncio.sleep(0.5)
            assert origin.open == 1
            assert await origin.all_left(10.0)
            # The client is still there: it was the gateway that ended it.
            rows = await asyncio.to_thread(eventually, gateway.usage_rows, bool, 20)
        (row,) = rows
        assert (row["outcome"], row["status_code"]) == ("aborted", 200)
        assert gateway.metrics("llm_proxy_active_requests") == 0
    assert gateway.distress() == [], gateway.log()
