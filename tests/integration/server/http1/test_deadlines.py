"""Connections that miss a deadline are closed."""

from __future__ import annotations

import asyncio

from tests.fakes.served import served
from tests.fakes.served_apps import GET, Recorder, echo


async def test_a_silent_connection_is_closed() -> None:
    async with served(echo, head_timeout=0.05) as server:
        client = await server.connect()
        assert await client.rest() == b""


async def test_blank_lines_do_not_count_as_speaking() -> None:
    async with served(echo, head_timeout=0.05) as server:
        client = await server.connect()
        client.send(b"\r\n\r\n")
        assert await client.rest() == b""


async def test_a_head_that_trickles_gets_408() -> None:
    async with served(echo, head_timeout=0.1) as server:
        client = await server.connect()

        async def trickle() -> None:
            for byte in GET * 100:
                client.send(bytes([byte]))
                await asyncio.sleep(0.01)

        trickling = asyncio.ensure_future(trickle())
        # It takes a quarter of a second to arrive.
        answer = await client.answer()
        assert (answer.status, answer.error["code"]) == (408, "request_timeout")
        trickling.cancel()
        client.close()


async def test_an_idle_connection_is_closed_and_a_busy_one_is_not() -> None:
    app = Recorder()
    async with served(app, keep_alive=0.05, head_timeout=0.05) as server:
        client = await server.connect()
        client.send(GET)
        # Longer than either deadline; half a head that waits behind it has its own.
        client.send(GET[:10])
        await asyncio.sleep(0.15)
        app.go.set()
        assert (await client.answer()).status == 200
        assert (await client.answer()).status == 408
        idle = await server.connect()
        idle.send(GET)
        await idle.answer()
        assert await idle.rest() == b""
