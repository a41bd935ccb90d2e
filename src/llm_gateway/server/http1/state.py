"""State that all connections of one process share."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable
from typing import Protocol

from uvicorn.server import ServerState

from llm_gateway.server.http1.head_cache import KnownHeads
from llm_gateway.server.http1.limits import HttpLimits
from llm_gateway.sockets.write_batch import WriteBatch


def random_request_id() -> str:
    """Return a random UUID, for requests that never reach the application."""
    return str(uuid.uuid4())


class OpenConnection(Protocol):
    """A client's connection, as the server sees it; `deadline` is in the event loop's time."""

    transport: asyncio.Transport
    deadline: float

    def on_deadline(self) -> None:
        """Handle a deadline that has passed."""

    def shutdown(self) -> None:
        """Close the connection now, or after the response that is in progress."""

    def cut(self) -> bool:
        """Give up the request that is answered without a task, if there is one; return whether there was."""


class GatewayServerState(ServerState):
    """uvicorn's state plus limits. While `draining`, each response closes its connection."""

    connections: set[OpenConnection]  # type: ignore[assignment]  # they are none of uvicorn's

    def __init__(
        self,
        limits: HttpLimits,
        new_request_id: Callable[[], str] = random_request_id,
        batch: WriteBatch | None = None,
    ) -> None:
        """`new_request_id` makes the `x-request-id` of rejections. What connections write is made in `batch`."""
        super().__init__()
        self.limits = limits
        self.new_request_id = new_request_id
        self.batch = batch
        self.known_heads = KnownHeads()
        self.draining = False
