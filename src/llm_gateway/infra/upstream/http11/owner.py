"""What a connection needs of the pool that it belongs to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from llm_gateway.sockets.write_batch import WriteBatch

if TYPE_CHECKING:
    from llm_gateway.infra.upstream.http11.connection import Connection


class ConnectionOwner(Protocol):
    """The pool that a connection belongs to."""

    # In which requests are sent; None = at once.
    batch: WriteBatch | None

    def opened(self, connection: Connection) -> None:
        """Register a new connection."""

    def put_idle(self, connection: Connection) -> bool:
        """Take a connection back for reuse; return False when the pool has no room."""

    def lost(self, connection: Connection) -> None:
        """Remove a closed connection."""
