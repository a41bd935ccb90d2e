"""Sessions in both databases, and the fake that stands for them elsewhere."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from llm_gateway.flow.ports.catalog import StoreUnavailable
from llm_gateway.flow.ports.sessions import Session, SessionStore, StoredSession
from llm_gateway.infra.database.sessions import SessionRepository
from tests.fakes.session_store import MemorySessionStore
from tests.fakes.stores import Store, opened

NOW = 1_790_000_000_123_457
HOUR = 3_600_000_000


def session(number: int, **changes: Any) -> StoredSession:
    made = Session(
        id=f"s{number}",
        role="admin",
        created_at=NOW,
        last_seen_at=NOW + number,
        expires_at=NOW + HOUR,
        client_ip="10.0.0.1",
    )
    return StoredSession(
        session=msgspec.structs.replace(made, **changes),
        token_hash=b"\0token" + bytes([number]),
        key_fingerprint=b"\xffkey",
    )


@pytest.fixture(params=["sqlite", "postgresql", "memory"])
def place(request: pytest.FixtureRequest) -> str | None:
    """Return DB_URL of the store, None for an SQLite file, "" for none at all."""
    if request.param == "postgresql":
        url: str = request.getfixturevalue("postgres_url")
        return url
    return None if request.param == "sqlite" else ""


@pytest.fixture
async def store(place: str | None, data_dir: Path) -> AsyncIterator[SessionStore]:
    if place == "":
        yield MemorySessionStore()
        return
    async with opened(place, data_dir, start=False) as database:
        yield SessionRepository(database.engine)


@pytest.fixture
async def database(store_url: str | None, data_dir: Path) -> AsyncIterator[Store]:
    async with opened(store_url, data_dir, start=False) as database:
        yield database


async def listed(store: SessionStore, now: int = NOW, limit: int = 99) -> list[str]:
    return [one.id for one in await store.active(now, [b"\xffkey"], limit)]


@pytest.mark.parametrize("changes", [{}, {"role": "viewer", "client_ip": None}])
async def test_a_session_comes_back_as_it_was(store: SessionStore, changes: dict[str, Any]) -> None:
    await store.add(session(2))
    await store.add(stored := session(1, **changes))
    assert await store.find(stored.token_hash) == stored
    assert await store.find(b"token") is None


async def test_the_time_when_it_was_last_seen_only_grows(store: SessionStore) -> None:
    await store.add(stored := session(1))
    for at, known in ((NOW + 9, NOW + 9), (NOW + 5, NOW + 9), (NOW + 10, NOW + 10)):
        await store.touch("s1", at)
        found = await store.find(stored.token_hash)
        assert found is not None
        assert found == msgspec.structs.replace(
            stored, session=msgspec.structs.replace(stored.session, last_seen_at=known)
        )
    await store.touch("s2", NOW)


async def test_a_removed_session_is_gone(store: SessionStore) -> None:
    for number in range(4):
        await store.add(session(number))
    assert [await store.remove(id_) for id_ in ("s0", "s0", "", "x")] == [True, False, False, False]
    token = session(1).token_hash
    assert [await store.remove_token(token) for _ in range(2)] == [True, False]
    assert await store.find(token) is None
    assert await listed(store) == ["s3", "s2"]
    assert [await store.remove_all() for _ in range(2)] == [2, 0]
    assert await listed(store) == []


async def test_active_sessions_are_those_of_the_keys_seen_last_first(store: SessionStore) -> None:
    for number in (2, 0, 1):
        await store.add(session(number))
    await store.add(msgspec.structs.replace(session(3), key_fingerprint=b"another key"))
    await store.add(session(4, expires_at=NOW))
    assert await listed(store) == ["s2", "s1", "s0"]
    assert await listed(store, limit=2) == ["s2", "s1"]
    assert await listed(store, now=NOW + HOUR) == []
    assert await store.active(NOW, [], 99) == []


async def test_expired_sessions_are_deleted(store: SessionStore) -> None:
    for number, expires_at in enumerate((NOW - 1, NOW, NOW + 1)):
        await store.add(session(number, expires_at=expires_at))
    assert [await store.delete_expired(NOW) for _ in range(2)] == [2, 0]
    assert await listed(store) == ["s2"]


async def test_rows_written_by_hand_are_no_sessions_unless_they_are_right(database: Store) -> None:
    store = SessionRepository(database.engine)
    for number in range(3):
        await store.add(session(number))
    await database.sql("UPDATE console_sessions SET role = 'root' WHERE id = 's1'")
    if not database.is_postgres:
        await database.sql("UPDATE console_sessions SET created_at = 'soon' WHERE id = 's2'")
    assert await store.find(session(1).token_hash) is None
    assert "s0" in await listed(store)
    assert "s1" not in await listed(store)
    if not database.is_postgres:
        assert await listed(store) == ["s0"]


async def test_a_database_that_cannot_be_used_is_unavailable(database: Store) -> None:
    store = SessionRepository(database.engine)
    await database.sql("ALTER TABLE console_sessions RENAME TO away")
    with pytest.raises(StoreUnavailable):
        await store.find(b"x")
    with pytest.raises(StoreUnavailable):
        await store.add(session(1))
