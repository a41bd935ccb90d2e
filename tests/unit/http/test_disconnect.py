"""The work for a request is cancelled when its client disconnects, and only then reported as such."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable

import pytest

from llm_gateway.flow.call import ClientDisconnected
from llm_gateway.http.disconnect import CancelOnDisconnect
from tests.fakes.asgi import FakeExchange


async def run(exchange: FakeExchange | None, work: Awaitable[None]) -> None:
    with CancelOnDisconnect(exchange):
        await work


async def test_a_disconnect_cancels_the_work() -> None:
    exchange = FakeExchange()
    undone = asyncio.Event()

    async def work() -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            undone.set()

    task = asyncio.ensure_future(run(exchange, work()))
    await asyncio.sleep(0)
    exchange.leave()
    with pytest.raises(ClientDisconnected):
        await task
    assert undone.is_set()
    assert exchange.on_disconnect is None


async def test_a_client_that_is_gone_already_cancels_the_work_at_its_first_await() -> None:
    exchange = FakeExchange()
    exchange.leave()
    with pytest.raises(ClientDisconnected):
        await asyncio.ensure_future(run(exchange, asyncio.sleep(3600)))


@pytest.mark.parametrize("exchange", [FakeExchange(), None])
async def test_a_cancellation_by_the_server_stays_a_cancellation(exchange: FakeExchange | None) -> None:
    task = asyncio.ensure_future(run(exchange, asyncio.sleep(3600)))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_cancellation_by_the_server_wins_over_a_disconnect() -> None:
    exchange = FakeExchange()
    task = asyncio.ensure_future(run(exchange, asyncio.sleep(3600)))
    await asyncio.sleep(0)
    task.cancel()
    exchange.leave()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_work_that_ends_by_itself_leaves_no_callback() -> None:
    exchange = FakeExchange()
    await run(exchange, asyncio.sleep(0))
    assert exchange.on_disconnect is None
    with pytest.raises(ValueError, match="its own"), CancelOnDisconnect(exchange):
        raise ValueError("its own")
    assert exchange.on_disconnect is None
