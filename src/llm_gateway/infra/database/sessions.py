"""The console's sessions in the database."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import msgspec
import sqlalchemy as sa

from llm_gateway.flow.ports.sessions import Session, SessionStore, StoredSession
from llm_gateway.infra.database.engine import reading, writing
from llm_gateway.infra.database.tables import UnixMicros, metadata
from llm_gateway.infra.sqlalchemy_asyncio import AsyncEngine

console_sessions = sa.Table(
    "console_sessions",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    # A keyed hash: the token itself is stored nowhere.
    sa.Column("token_hash", sa.LargeBinary, nullable=False, unique=True),
    # Of the key that opened the session.
    sa.Column("key_fingerprint", sa.LargeBinary, nullable=False),
    sa.Column("role", sa.Text, nullable=False),
    sa.Column("created_at", UnixMicros, nullable=False),
    sa.Column("last_seen_at", UnixMicros, nullable=False),
    sa.Column("expires_at", UnixMicros, nullable=False),
    sa.Column("client_ip", sa.Text),
)
_c = console_sessions.c
_SESSION = tuple(_c[name] for name in Session.__struct_fields__)


class SessionRepository(SessionStore):
    """The table `console_sessions`. A row that somebody has written by hand, and wrongly, is no session."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def add(self, stored: StoredSession) -> None:
        row = {
            **msgspec.structs.asdict(stored.session),
            "token_hash": stored.token_hash,
            "key_fingerprint": stored.key_fingerprint,
        }
        async with writing(self._engine) as connection:
            await connection.execute(sa.insert(console_sessions).values(row))

    async def find(self, token_hash: bytes) -> StoredSession | None:
        statement = sa.select(*_SESSION, _c.key_fingerprint).where(_c.token_hash == token_hash)
        async with reading(self._engine) as connection:
            row: Any = (await connection.execute(statement)).one_or_none()
        session = None if row is None else _session(row)
        if row is None or session is None:
            return None
        return StoredSession(session=session, token_hash=token_hash, key_fingerprint=row.key_fingerprint)

    async def touch(self, session_id: str, at: int) -> None:
        await self._write(
            sa.update(console_sessions)
            .where(_c.id == session_id, _c.last_seen_at < at)
            .values(last_seen_at=at)
        )

    async def remove(self, session_id: str) -> bool:
        return await self._write(sa.delete(console_sessions).where(_c.id == session_id)) > 0

    async def remove_token(self, token_hash: bytes) -> bool:
        return await self._write(sa.delete(console_sessions).where(_c.token_hash == token_hash)) > 0

    async def remove_all(self) -> int:
        return await self._write(sa.delete(console_sessions))

    async def active(self, now: int, key_fingerprints: Collection[bytes], limit: int) -> list[Session]:
        statement = (
            sa.select(*_SESSION)
            .where(_c.expires_at > now, _c.key_fingerprint.in_(list(key_fingerprints)))
            .order_by(_c.last_seen_at.desc(), _c.id)
            .limit(limit)
        )
        async with reading(self._engine) as connection:
            rows = (await connection.execute(statement)).all()
        return [session for row in rows if (session := _session(row)) is not None]

    async def delete_expired(self, now: int) -> int:
        return await self._write(sa.delete(console_sessions).where(_c.expires_at <= now))

    async def _write(self, statement: sa.Update | sa.Delete) -> int:
        async with writing(self._engine) as connection:
            result: Any = await connection.execute(statement)
            return int(result.rowcount)


def _session(row: Any) -> Session | None:  # noqa: ANN401 - rows of several shapes
    values = {name: getattr(row, name) for name in Session.__struct_fields__}
    try:
        return msgspec.convert(values, Session)
    except msgspec.ValidationError:
        return None
