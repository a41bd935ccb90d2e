"""Turns "the client has left" into the cancellation of the work done for it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

from llm_gateway.http.types import Scope

_T = TypeVar("_T")
# Our server's protocol puts a hook here: register(callback) and unregister().
EXTENSION = "llm_gateway.disconnect"


class ClientGone(Exception):
    """The client left; the work for it was cancelled, and nobody is there to be answered."""


async def until_hangup(scope: Scope, work: Awaitable[_T]) -> _T:
    """Do `work` for as long as the client is there; cancel it and raise ClientGone when it leaves.

    The hook is called by the connection itself, so nothing has to watch: no task and no read is spent on
    it. Without the hook (an ASGI test client) nobody can leave.
    """
    hook = (scope.get("extensions") or {}).get(EXTENSION)
    task = asyncio.current_task()
    if hook is None or task is None:
        return await work
    left = False

    def leave() -> None:
        nonlocal left
        left = True
        task.cancel()

    hook.register(leave)
    try:
        return await work
    except asyncio.CancelledError:
        if left and task.uncancel() == 0:
            raise ClientGone from None
        raise
    finally:
        hook.unregister()
