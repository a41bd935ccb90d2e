"""What the workers of one machine tell one another."""

from __future__ import annotations

from typing import Protocol


class WorkerRegistry(Protocol):
    """What the workers of one machine (one `DATA_DIR`) tell one another, in shared memory."""

    def publish_version(self, version: int) -> None:
        """Say which config version this worker serves."""

    def announce_version(self, version: int) -> None:
        """Say that this version exists, so that the others go and fetch it."""

    def announced_version(self) -> int:
        """Return the highest version announced on this machine."""

    def stale_workers(self, version: int) -> tuple[int, ...]:
        """Return the process ids of the live workers that serve an older version."""

    def try_enter(self, limit: int) -> bool:
        """Count one more request in flight on this machine, unless `limit` are already."""

    def leave(self) -> None:
        """Count one request less."""

    def active(self) -> int:
        """Return the requests in flight on this machine."""
