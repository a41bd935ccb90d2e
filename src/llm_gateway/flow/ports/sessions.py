"""Where the console's sessions are stored."""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal, Protocol

import msgspec

Role = Literal["admin", "viewer"]


class Session(msgspec.Struct, frozen=True, kw_only=True):
    """One browser that is signed in to the console. Times are in Unix microseconds."""

    # Public: it names the session to admins, and opens nothing.
    id: str
    role: Role
    created_at: int
    # Written once a minute at most.
    last_seen_at: int
    expires_at: int
    # None = the server does not know it.
    client_ip: str | None


class StoredSession(msgspec.Struct, frozen=True, kw_only=True):
    """A session with what its token and its key are recognised by; neither can be read from it."""

    session: Session
    token_hash: bytes
    key_fingerprint: bytes


class SessionStore(Protocol):
    """Sessions, shared by all processes: each sees at once what another has written. Raises StoreUnavailable."""

    async def add(self, stored: StoredSession) -> None:
        """Store a new session."""

    async def find(self, token_hash: bytes) -> StoredSession | None:
        """Return the session of a token, even if it has expired."""

    async def touch(self, session_id: str, at: int) -> None:
        """Set when the session was last seen, unless a later time is known. It may be gone."""

    async def remove(self, session_id: str) -> bool:
        """Remove a session; return whether there was one."""

    async def remove_token(self, token_hash: bytes) -> bool:
        """Remove the session of a token; return whether there was one."""

    async def remove_all(self) -> int:
        """Remove all sessions; return how many there were."""

    async def active(self, now: int, key_fingerprints: Collection[bytes], limit: int) -> list[Session]:
        """Return the sessions of these keys that have not expired, those seen last first."""

    async def delete_expired(self, now: int) -> int:
        """Delete sessions that have expired; return how many."""
