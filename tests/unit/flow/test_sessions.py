"""Signing in to the console: keys, roles, attempts that fail, and when a session ends."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Sequence
from datetime import UTC
from pathlib import Path

import pytest

from llm_gateway.core.errors import RateLimited, Unauthenticated
from llm_gateway.core.secret import Secret
from llm_gateway.flow.ports.catalog import StoreUnavailable
from llm_gateway.flow.ports.sessions import Role
from llm_gateway.flow.ports.use_limits import Claim, HeldUse, Shortage, UseStore
from llm_gateway.flow.sessions import FAILURES_OF_ADDRESS, FAILURES_OF_ALL, Sessions
from llm_gateway.infra.secrets.key_hashing import Blake2KeyHasher
from llm_gateway.infra.use_limits.shared import SharedUseStore
from tests.fakes.in_memory import FakeClock
from tests.fakes.session_store import MemorySessionStore

ADMIN, VIEWER = "the-admin-key-of-this-test", "the-viewer-key-of-this-test"
HOUR, MINUTE = 3600.0, 60.0


class _Attempts(SharedUseStore):
    """Tells how often it was asked to hold something."""

    holds = 0

    def hold(self, claims: Sequence[Claim]) -> HeldUse | Shortage | Awaitable[HeldUse | Shortage]:
        self.holds += 1
        return super().hold(claims)


class Desk:
    """The parts of one gateway: processes of it are `sessions()`."""

    def __init__(self, directory: Path) -> None:
        self.clock = FakeClock()
        self.store = MemorySessionStore()
        self._directory = directory
        self.attempts: list[_Attempts] = []

    def sessions(
        self, *, admin: str = ADMIN, viewer: str | None = VIEWER, attempts: UseStore | None = None
    ) -> Sessions:
        keys: dict[Role, Secret] = {"admin": Secret(admin)}
        if viewer is not None:
            keys["viewer"] = Secret(viewer)
        return Sessions(
            store=self.store,
            attempts=attempts or self._attempts(),
            hasher=Blake2KeyHasher(b"p" * 32),
            clock=self.clock,
            keys=keys,
            hours=12.0,
        )

    def _attempts(self) -> _Attempts:
        made = _Attempts(
            self._directory,
            "test",
            UTC,
            monotonic_ns=lambda: int(self.clock.now * 1e9),
            unix_us=self.clock.unix_us,
        )
        self.attempts.append(made)
        return made


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    made = Desk(tmp_path)
    yield made
    for attempts in made.attempts:
        await attempts.close()


async def fail(sessions: Sessions, address: str, key: str = "wrong") -> str:
    with pytest.raises(Unauthenticated) as caught:
        await sessions.sign_in(key, address)
    return f"{caught.value.code}: {caught.value.message}"


@pytest.mark.parametrize(("key", "role"), [(ADMIN, "admin"), (VIEWER, "viewer"), (f"  {ADMIN}\n", "admin")])
async def test_a_key_opens_a_session_of_its_role(desk: Desk, key: str, role: str) -> None:
    sessions = desk.sessions()
    signed_in = await sessions.sign_in(key, "10.0.0.1")
    session = signed_in.session
    assert (session.role, session.client_ip) == (role, "10.0.0.1")
    assert session.created_at == session.last_seen_at == desk.clock.unix_us()
    assert session.expires_at - session.created_at == 12 * 3600 * 1_000_000
    assert await sessions.find(signed_in.token.reveal()) == session
    assert await sessions.active() == [session]


async def test_tokens_are_long_differ_and_are_stored_nowhere(desk: Desk) -> None:
    sessions = desk.sessions()
    tokens = [(await sessions.sign_in(ADMIN, "::1")).token.reveal() for _ in range(3)]
    assert len(set(tokens)) == 3
    for token, stored in zip(tokens, desk.store.rows.values(), strict=True):
        assert len(token) == 43
        assert token.encode() not in repr(stored).encode()
        assert ADMIN not in repr(stored)
        assert stored.session.id not in token


async def test_every_refusal_reads_the_same(desk: Desk) -> None:
    sessions = desk.sessions()
    said = {
        await fail(sessions, f"10.0.0.{number}", key)
        for number, key in enumerate(
            ["", " ", "x", ADMIN[:-1], ADMIN + "x", ADMIN.upper(), "\udcff", "\0", "é" * 9000]
        )
    }
    assert said == {"sign_in_failed: This key does not open the console."}
    without = desk.sessions(viewer=None)
    assert await fail(without, "10.0.1.1", VIEWER) in said


async def test_an_unknown_token_finds_nothing(desk: Desk) -> None:
    sessions = desk.sessions()
    await sessions.sign_in(ADMIN, None)
    for token in ("", "x", "\udcff", "a" * 43):
        assert await sessions.find(token) is None
        assert not await sessions.sign_out(token)


async def test_a_session_ends_when_its_time_is_over(desk: Desk) -> None:
    sessions = desk.sessions()
    token = (await sessions.sign_in(ADMIN, None)).token.reveal()
    desk.clock.now += 12 * HOUR - 1
    assert await sessions.find(token) is not None
    desk.clock.now += 1
    assert await sessions.find(token) is None
    assert await sessions.active() == []


async def test_use_does_not_prolong_a_session_and_is_written_once_a_minute(desk: Desk) -> None:
    sessions = desk.sessions()
    token = (await sessions.sign_in(ADMIN, None)).token.reveal()
    expires_at = desk.clock.unix_us() + 12 * 3600 * 1_000_000
    for _ in range(59):
        desk.clock.now += 1.0
        await sessions.find(token)
    assert desk.store.touches == 0
    desk.clock.now += 1.0
    found = await sessions.find(token)
    assert found is not None
    assert (found.last_seen_at, found.expires_at) == (desk.clock.unix_us(), expires_at)
    assert await sessions.find(token) == found
    assert desk.store.touches == 1


async def test_a_database_that_cannot_be_written_signs_nobody_out(desk: Desk) -> None:
    sessions = desk.sessions()
    token = (await sessions.sign_in(ADMIN, None)).token.reveal()
    desk.clock.now += 2 * MINUTE
    desk.store.is_read_only = True
    assert await sessions.find(token) is not None
    with pytest.raises(StoreUnavailable):
        await sessions.sign_in(ADMIN, None)


async def test_signing_out_ends_one_session(desk: Desk) -> None:
    sessions = desk.sessions()
    mine = (await sessions.sign_in(ADMIN, None)).token.reveal()
    other = await sessions.sign_in(ADMIN, None)
    assert await sessions.sign_out(mine)
    assert not await sessions.sign_out(mine)
    assert await sessions.find(mine) is None
    assert await sessions.active() == [other.session]


async def test_sessions_are_revoked_by_their_ids_and_all_at_once(desk: Desk) -> None:
    sessions, elsewhere = desk.sessions(), desk.sessions()
    opened = [await sessions.sign_in(key, None) for key in (ADMIN, ADMIN, VIEWER)]
    assert await elsewhere.revoke(opened[0].session.id)
    assert not await elsewhere.revoke(opened[0].session.id)
    assert await sessions.find(opened[0].token.reveal()) is None
    assert await elsewhere.revoke_all() == 2
    assert [await sessions.find(one.token.reveal()) for one in opened] == [None, None, None]


@pytest.mark.parametrize(
    ("keys", "admins", "viewers"),
    [
        ({}, True, True),
        ({"admin": "another-admin-key"}, False, True),
        ({"viewer": "another-viewer-key"}, True, False),
        ({"viewer": None}, True, False),
        # The keys have changed places: nobody's rights grow.
        ({"admin": VIEWER, "viewer": ADMIN}, False, False),
    ],
)
async def test_a_changed_key_ends_its_sessions(
    desk: Desk, keys: dict[str, str | None], admins: bool, viewers: bool
) -> None:
    before = desk.sessions()
    admin, viewer = [(await before.sign_in(key, None)).token.reveal() for key in (ADMIN, VIEWER)]
    after = desk.sessions(**keys)  # type: ignore[arg-type]
    assert (await after.find(admin) is not None, await after.find(viewer) is not None) == (admins, viewers)
    assert len(await after.active()) == admins + viewers


async def test_failed_attempts_of_an_address_are_limited_in_all_processes(desk: Desk) -> None:
    processes = [desk.sessions(), desk.sessions()]
    for number in range(FAILURES_OF_ADDRESS):
        await fail(processes[number % 2], "10.0.0.1")
    for sessions in processes:
        with pytest.raises(RateLimited, match="Too many failed attempts to sign in") as caught:
            # With the right key, too, so that the answer tells nothing of it.
            await sessions.sign_in(ADMIN, "10.0.0.1")
        assert caught.value.code == "too_many_sign_ins"
        assert 0 < (caught.value.retry_after or 0) <= 61
        assert (await sessions.sign_in(ADMIN, "10.0.0.2")).session.role == "admin"
    desk.clock.now += 62
    await processes[0].sign_in(ADMIN, "10.0.0.1")


async def test_one_address_cannot_lock_the_others_out(desk: Desk) -> None:
    sessions = desk.sessions()
    for _ in range(3 * FAILURES_OF_ALL):
        with pytest.raises((Unauthenticated, RateLimited)):
            await sessions.sign_in("wrong", "10.0.0.1")
    assert await sessions.sign_in(ADMIN, "10.0.0.2")


@pytest.mark.parametrize(
    "addresses",
    [
        ["2001:db8::1", "2001:db8::2", "2001:db8::ffff:1"],
        ["10.0.0.1", "::ffff:10.0.0.1"],
        [None],
        ["not an address"],
    ],
)
async def test_addresses_of_one_client_are_counted_together(desk: Desk, addresses: list[str | None]) -> None:
    sessions = desk.sessions()
    for number in range(FAILURES_OF_ADDRESS):
        with pytest.raises(Unauthenticated):
            await sessions.sign_in("wrong", addresses[number % len(addresses)])
    for address in addresses:
        with pytest.raises(RateLimited):
            await sessions.sign_in("wrong", address)
    await sessions.sign_in(ADMIN, "2001:db8:0:1::1")


async def test_failed_attempts_of_all_addresses_are_limited_together(desk: Desk) -> None:
    sessions = desk.sessions()
    for number in range(FAILURES_OF_ALL):
        await fail(sessions, f"10.0.{number % 20}.1")
    counted = desk.attempts[0].holds
    for number in range(50):
        with pytest.raises(RateLimited):
            await sessions.sign_in("wrong", f"10.1.{number}.1")
    # Nor has any of these addresses become an account, of which the store has room for so many.
    assert desk.attempts[0].holds == counted
    # Who is signed in does not notice.
    desk.clock.now += 62
    token = (await sessions.sign_in(ADMIN, "10.2.0.1")).token.reveal()
    for number in range(FAILURES_OF_ALL):
        await fail(sessions, f"10.3.{number % 20}.1")
    assert await sessions.find(token) is not None


async def test_signing_in_with_the_right_key_is_not_limited(desk: Desk) -> None:
    sessions = desk.sessions()
    for _ in range(FAILURES_OF_ALL + 1):
        await sessions.sign_in(ADMIN, "10.0.0.1")
    assert len(await sessions.active()) == FAILURES_OF_ALL + 1


class _Remote(UseStore):
    """Answers later, as a store in Redis does, and remembers what became of it."""

    def __init__(self, answer: HeldUse | Shortage) -> None:
        self.answer = answer
        self.ends: list[str] = []

    def hold(self, claims: Sequence[Claim]) -> Awaitable[HeldUse | Shortage]:
        async def later() -> HeldUse | Shortage:
            return self.answer

        assert len({claim.key for claim in claims}) == 2
        return later()

    def settle(self, held: HeldUse, tokens: int) -> None:
        assert (held, tokens) == (self.answer, 0)
        self.ends.append("settled")

    def release(self, held: HeldUse) -> None:
        assert held == self.answer
        self.ends.append("released")

    def shortage(self, claims: Sequence[Claim]) -> Shortage | None:
        return None


async def test_attempts_may_be_counted_elsewhere(desk: Desk) -> None:
    remote = _Remote(HeldUse(object(), None, None))
    sessions = desk.sessions(attempts=remote)
    await fail(sessions, "10.0.0.1")
    await sessions.sign_in(ADMIN, "10.0.0.1")
    assert remote.ends == ["settled", "released"]
    remote.answer = Shortage(0, "requests_per_minute", 10, 10, 0, None)
    with pytest.raises(RateLimited) as caught:
        await sessions.sign_in(ADMIN, "10.0.0.1")
    assert caught.value.retry_after == 1.0
