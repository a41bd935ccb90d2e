"""An application is made once, at the first request, however many wait for it."""

from __future__ import annotations

import asyncio
import time

import pytest

from llm_gateway.app.on_demand.first_use import OnFirstUse
from llm_gateway.http.types import AsgiApp, Message, Receive, Scope, Send


async def _receive() -> Message:
    return {}


async def _send(message: Message) -> None:
    del message


async def test_requests_at_the_same_time_share_one_application() -> None:
    made: list[AsgiApp] = []
    served: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        served.append(scope["path"])

    def make() -> AsgiApp:
        time.sleep(0.05)
        made.append(app)
        return app

    lazy = OnFirstUse(make)
    assert not made
    await asyncio.gather(*(lazy({"path": f"/{number}"}, _receive, _send) for number in range(5)))
    assert len(made) == 1
    assert sorted(served) == ["/0", "/1", "/2", "/3", "/4"]


async def test_a_failure_is_tried_again_at_the_next_request() -> None:
    tries: list[int] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        pass

    def make() -> AsgiApp:
        tries.append(1)
        if len(tries) == 1:
            raise ImportError("not yet")
        return app

    lazy = OnFirstUse(make)
    with pytest.raises(ImportError):
        await lazy({"path": "/"}, _receive, _send)
    await lazy({"path": "/"}, _receive, _send)
    assert len(tries) == 2
