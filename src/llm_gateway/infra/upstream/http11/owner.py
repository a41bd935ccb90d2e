"""What a connection needs of the pool that it belongs to."""

from __future__ import annotations

from typing import Protocol, TypeVar

from llm_gateway.sockets.write_batch import WriteBatch

_C_contra = TypeVar("_C_contra", contravariant=True)


class ConnectionOwner(Protocol[_C_contra]):
    """The pool that a connection belongs to."""

    # In which requests are sent; None = at once.
    batch: WriteBatch | None

    def opened(self, connection: _C_contra) -> None:
        """Register a new connection."""

    def put_idle(self, connection: _C_contra) -> bool:
        """Take a connection back for reuse; return False when the pool has no room."""

    def lost(self, connection: _C_contra) -> None:
        """Remove a closed connection."""
