"""Sessions in memory."""

from __future__ import annotations

from collections.abc import Collection

import msgspec

from llm_gateway.flow.ports.catalog import StoreUnavailable
from llm_gateway.flow.ports.sessions import Session, SessionStore, StoredSession


class MemorySessionStore(SessionStore):
    """Keeps the port's promises; `is_read_only` makes every write fail."""

    def __init__(self) -> None:
        self.rows: dict[str, StoredSession] = {}
        self.touches = 0
        self.is_read_only = False

    async def add(self, stored: StoredSession) -> None:
        self._check()
        self.rows[stored.session.id] = stored

    async def find(self, token_hash: bytes) -> StoredSession | None:
        return next((row for row in self.rows.values() if row.token_hash == token_hash), None)

    async def touch(self, session_id: str, at: int) -> None:
        self._check()
        self.touches += 1
        row = self.rows.get(session_id)
        if row is not None and row.session.last_seen_at < at:
            session = msgspec.structs.replace(row.session, last_seen_at=at)
            self.rows[session_id] = msgspec.structs.replace(row, session=session)

    async def remove(self, session_id: str) -> bool:
        self._check()
        return self.rows.pop(session_id, None) is not None

    async def remove_token(self, token_hash: bytes) -> bool:
        found = await self.find(token_hash)
        return found is not None and await self.remove(found.session.id)

    async def remove_all(self) -> int:
        self._check()
        count = len(self.rows)
        self.rows.clear()
        return count

    async def active(self, now: int, key_fingerprints: Collection[bytes], limit: int) -> list[Session]:
        found = [
            row.session
            for row in self.rows.values()
            if row.session.expires_at > now and row.key_fingerprint in key_fingerprints
        ]
        return sorted(found, key=lambda one: (-one.last_seen_at, one.id))[:limit]

    async def delete_expired(self, now: int) -> int:
        self._check()
        expired = [id_ for id_, row in self.rows.items() if row.session.expires_at <= now]
        for id_ in expired:
            del self.rows[id_]
        return len(expired)

    def _check(self) -> None:
        if self.is_read_only:
            raise StoreUnavailable("The database takes no writes")
