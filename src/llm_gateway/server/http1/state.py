"""State that all connections of one process share."""

from __future__ import annotations

import uuid
from collections.abc import Callable

from uvicorn.server import ServerState

from llm_gateway.server.http1.limits import HttpLimits
from llm_gateway.sockets.write_batch import WriteBatch


def random_request_id() -> str:
    """Return a random UUID, for requests that never reach the application."""
    return str(uuid.uuid4())


class GatewayServerState(ServerState):
    """uvicorn's state plus limits. While `draining`, each response closes its connection."""

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
        self.draining = False
