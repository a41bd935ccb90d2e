"""Signing in to the console: a key is exchanged for a token, which opens a session until it ends or is revoked."""

from __future__ import annotations

import contextlib
import hmac
import secrets
from inspect import isawaitable
from ipaddress import IPv6Address, ip_address
from typing import Final, NamedTuple

import msgspec

from llm_gateway.core.config.limits import Limits
from llm_gateway.core.errors import RateLimited, Unauthenticated
from llm_gateway.core.secret import Secret
from llm_gateway.flow.accounting.use_limit import account_key
from llm_gateway.flow.ports.catalog import KeyHasher, StoreUnavailable
from llm_gateway.flow.ports.clock import Clock
from llm_gateway.flow.ports.sessions import Role, Session, SessionStore, StoredSession
from llm_gateway.flow.ports.use_limits import Claim, HeldUse, Shortage, UseStore

_SECOND_US: Final = 1_000_000
_SEEN_EVERY_US: Final = 60 * _SECOND_US
_TOKEN_BYTES: Final = 32
# Sessions in one list.
_MOST_SHOWN: Final = 200
# Failed attempts in any minute: of one address, and of all together, which one address cannot use up.
FAILURES_OF_ADDRESS: Final = 10
FAILURES_OF_ALL: Final = 100
_SCOPE: Final = "console sign-in"
_ALL: Final = Claim(account_key(_SCOPE, "*"), Limits(requests_per_minute=FAILURES_OF_ALL), 0)
# An IPv6 client has a whole network of this size.
_IPV6_NETWORK_BITS: Final = 64


class SignedIn(NamedTuple):
    """A new session, and the token that opens it, which is known to nobody but its browser."""

    token: Secret
    session: Session


class Sessions:
    """Signs in with the admin key or the viewer key, and finds sessions by their tokens.

    The store holds hashes of tokens, so that what is read there opens nothing. It also holds a fingerprint of the key
    that each session was opened with: with a changed key, its sessions end.
    """

    def __init__(
        self,
        *,
        store: SessionStore,
        attempts: UseStore,
        hasher: KeyHasher,
        clock: Clock,
        keys: dict[Role, Secret],
        hours: float,
    ) -> None:
        """Sessions end after `hours`; without a key for a role, nobody has it. `attempts` counts failed sign-ins."""
        self._store = store
        self._attempts = attempts
        self._hasher = hasher
        self._clock = clock
        self._hours = hours
        self._fingerprints: dict[Role, bytes] = {
            role: self._fingerprint(role, key.reveal()) for role, key in keys.items()
        }

    async def sign_in(self, key: str, client_ip: str | None) -> SignedIn:
        """Open a session. Raises Unauthenticated, RateLimited after too many failed attempts, or StoreUnavailable."""
        attempt = await self._begin_attempt(client_ip)
        role = self._role(key.strip())
        if role is None:
            self._attempts.settle(attempt, 0)
            raise Unauthenticated("This key does not open the console.", code="sign_in_failed")
        self._attempts.release(attempt)
        now = self._clock.unix_us()
        session = Session(
            id=secrets.token_hex(8),
            role=role,
            created_at=now,
            last_seen_at=now,
            expires_at=now + int(self._hours * 3600 * _SECOND_US),
            client_ip=client_ip,
        )
        token = secrets.token_urlsafe(_TOKEN_BYTES)
        await self._store.add(
            StoredSession(
                session=session,
                token_hash=self._token_hash(token),
                key_fingerprint=self._fingerprints[role],
            )
        )
        return SignedIn(Secret(token), session)

    async def find(self, token: str) -> Session | None:
        """Return the session that the token opens, None if it opens none any more. Raises StoreUnavailable."""
        stored = await self._store.find(self._token_hash(token))
        if stored is None:
            return None
        session, now = stored.session, self._clock.unix_us()
        expected = self._fingerprints.get(session.role)
        if expected is None or not hmac.compare_digest(stored.key_fingerprint, expected):
            return None
        if now >= session.expires_at:
            return None
        if now - session.last_seen_at < _SEEN_EVERY_US:
            return session
        # A database that only reads at the moment signs nobody out.
        with contextlib.suppress(StoreUnavailable):
            await self._store.touch(session.id, now)
        return msgspec.structs.replace(session, last_seen_at=now)

    async def sign_out(self, token: str) -> bool:
        """End the session of the token; return whether there was one. Raises StoreUnavailable."""
        return await self._store.remove_token(self._token_hash(token))

    async def revoke(self, session_id: str) -> bool:
        """End a session by its id; return whether there was one. Raises StoreUnavailable."""
        return await self._store.remove(session_id)

    async def revoke_all(self) -> int:
        """End all sessions, the caller's too; return how many there were. Raises StoreUnavailable."""
        return await self._store.remove_all()

    async def active(self) -> list[Session]:
        """Return the open sessions, those seen last first, 200 at most. Raises StoreUnavailable."""
        return await self._store.active(self._clock.unix_us(), self._fingerprints.values(), _MOST_SHOWN)

    async def _begin_attempt(self, client_ip: str | None) -> HeldUse:
        """Count an attempt, which is taken back if it succeeds; raise RateLimited."""
        # First without an address: whoever has many of them must not make an account for each.
        answer: HeldUse | Shortage | None = self._attempts.shortage([_ALL])
        if answer is None:
            one = account_key(_SCOPE, _network(client_ip))
            held = self._attempts.hold([_ALL, Claim(one, Limits(requests_per_minute=FAILURES_OF_ADDRESS), 0)])
            answer = await held if isawaitable(held) else held
        if isinstance(answer, Shortage):
            wait = max(answer.wait or 0.0, 1.0)
            raise RateLimited(
                f"Too many failed attempts to sign in. Try again in {wait:.0f} seconds.",
                code="too_many_sign_ins",
                retry_after=wait,
            )
        return answer

    def _role(self, key: str) -> Role | None:
        """Return the role that a key gives. Takes the same time for every key of the same length."""
        found = [
            role
            for role, expected in self._fingerprints.items()
            if hmac.compare_digest(self._fingerprint(role, key), expected)
        ]
        return found[0] if found else None

    def _fingerprint(self, role: Role, key: str) -> bytes:
        # Not the hash that a credential with this key would have.
        return self._hasher.hash(f"console {role}\0{key}")

    def _token_hash(self, token: str) -> bytes:
        return self._hasher.hash(f"console session\0{token}")


def _network(client_ip: str | None) -> str:
    """Return what attempts are counted by: an IPv4 address, or the network of an IPv6 client."""
    if client_ip is None:
        return "unknown"
    try:
        address = ip_address(client_ip.partition("%")[0])
    except ValueError:
        return client_ip
    if not isinstance(address, IPv6Address):
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return f"{int(address) >> (128 - _IPV6_NETWORK_BITS):x}/{_IPV6_NETWORK_BITS}"
