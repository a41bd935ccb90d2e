"""What the flow needs of the outside world, as protocols that `infra` implements and tests replace."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, Protocol

import msgspec

from llm_gateway.core.catalog import Catalog, ClientCredentials
from llm_gateway.core.errors import Unavailable
from llm_gateway.core.records import AttemptBegun, AttemptFailed, UsageRecord
from llm_gateway.core.secret import Secret
from llm_gateway.core.snapshot import Snapshot
from llm_gateway.providers.base import UpstreamRequest


class Clock(Protocol):
    """Time, injected."""

    def monotonic(self) -> float:
        """Return seconds that never go back."""

    def unix_us(self) -> int:
        """Return Unix microseconds."""


# --- upstreams ---------------------------------------------------------------------------------


class UpstreamFault(Exception):
    """The transport's failure; `kind` says when, and the message names no URL, header or secret.

    - `connect`: no connection (refused, DNS, TLS); nothing was sent.
    - `cut`: the connection ended before the reply did.
    - `timeout`: the time ran out.
    - `protocol`: the reply is not HTTP, or over a size limit.
    """

    def __init__(self, kind: Literal["connect", "cut", "timeout", "protocol"], message: str) -> None:
        """Hold what happened."""
        super().__init__(message)
        self.kind = kind


class UpstreamReply(Protocol):
    """An open reply: the head is here, the body may be on its way."""

    status: int

    def header(self, name: str) -> str | None:
        """Return a header's value by lower-case name."""

    async def read(self, timeout: float) -> bytes:
        """Return the next bytes, b"" at the clean end; raise UpstreamFault when cut or late.

        `timeout` is in seconds and bounds the wait for these bytes alone. A read that timed out, or was
        cancelled, loses nothing: the next read goes on where it stood.
        """

    async def read_all(self, limit: int, timeout: float) -> bytes:
        """Return the whole body within `timeout` seconds; UpstreamFault `protocol` over `limit` bytes."""

    async def relay(self, take: Callable[[bytes], bool], patience: float) -> None:
        """Hand each piece of the body to `take` as it comes, for as long as it returns True and does not raise.

        It is called by the connection itself, so that a piece wakes no task. Returns when `take` wants no more, or
        when nothing more can come: then `read` says why. Raises UpstreamFault `timeout` after `patience` seconds
        without a piece. A transport that cannot do this returns at once.
        """

    def finish(self) -> None:
        """Want no more: keep the connection if the body ends within a moment, else drop it. Never waits."""

    def close(self) -> None:
        """Give the connection back when the body was read to its end, else drop it. Never waits."""


class Upstream(Protocol):
    """Sends requests to providers."""

    async def send(self, request: UpstreamRequest, timeout: float) -> UpstreamReply:
        """Send, and return when the reply's head is here; raise UpstreamFault.

        When the caller is cancelled the connection is dropped at once.
        """

    async def close(self) -> None:
        """Drop every connection."""


class AccessTokens(Protocol):
    """Gets providers' access tokens (OAuth2 client credentials), keeps them, and renews them before they expire."""

    async def token(
        self, provider_id: int, grant: ClientCredentials, secret: Secret, timeout: float
    ) -> Secret:
        """Return a token that is good for a while; raise UpstreamFault, whose message names no secret or URL."""

    def forget(self, provider_id: int, token: Secret) -> None:
        """Stop using a token that the provider refused; the next call gets another."""


# --- replies kept for later ----------------------------------------------------------------------


CacheResult = Literal["hit", "miss", "bypass"]


class ReplyCache(Protocol):
    """Keeps replies by an opaque key. Never raises: a failing store is a miss, and its own affair."""

    async def get(self, key: bytes) -> bytes | None:
        """Return what is kept and not too old, or None."""

    async def put(self, key: bytes, value: bytes, ttl: float) -> None:
        """Keep `value` for `ttl` seconds at most."""


# --- limits --------------------------------------------------------------------------------------


class Verdict(msgspec.Struct, frozen=True, gc=False):
    """What a limiter says of one request; times are seconds from now."""

    allowed: bool
    limit: int
    # How many more would be let through now.
    remaining: int
    # Until a request may be let through again (0.0 when one may now).
    retry_after: float
    # Until the whole limit is free again.
    reset_after: float


class RateLimiter(Protocol):
    """At most `limit` requests of one credential in any one second, the first `limit` at once."""

    async def hit(self, credential_id: int, limit: int) -> Verdict:
        """Take one place if there is one. Never raises: a failing store is the limiter's own affair."""

    def hit_now(self, credential_id: int, limit: int) -> Verdict | None:
        """Do as `hit` does, at once; None, and nothing taken, when that has to be waited for."""


# --- facts -----------------------------------------------------------------------------------------


class Journal(Protocol):
    """Keeps facts safe from the moment a call returns. Calls are synchronous and take microseconds."""

    def begin(self, attempt: AttemptBegun) -> None:
        """Note that an upstream is about to be called. Never raises."""

    def end(self, record: UsageRecord) -> None:
        """Note that a request ended. Never raises."""


class Observer(Protocol):
    """Reads the fact about each finished request: metrics, journal, access log."""

    def finished(self, record: UsageRecord) -> None:
        """Take note, without blocking and without raising."""

    def attempt_failed(self, failed: AttemptFailed) -> None:
        """Take note of an attempt that led to no reply; another may follow."""


class FactsRefused(Exception):
    """The usage store is there, but will not take these values: trying the same again cannot help."""


class UsageStore(Protocol):
    """Where usage facts end up: the database's usage table."""

    async def upsert(self, facts: Sequence[bytes]) -> None:
        """Store all of `facts` (each a UsageRecord as the journal has it, a line of JSON) or, when it raises, none.

        Idempotent by `request_id`: a row that is already there stays, except that a true end takes the place
        of `interrupted`; and one call may carry the same id twice. Raises FactsRefused when the
        values themselves are refused (no such JSON, out of range, a text that cannot be stored); every other
        exception is taken as an outage, and the same facts come again. Must have a time limit of its own.
        """


class TokenCounter(Protocol):
    """Counts tokens where no provider did."""

    def encoding(self, upstream_model: str, public_model: str) -> str:
        """Return the name of the encoding to count a model with."""

    async def count(self, encoding: str, texts: Sequence[str]) -> int | None:
        """Return the tokens of all `texts` together, counted off the event loop; None when it cannot."""


# --- configuration ---------------------------------------------------------------------------------


class StoreUnavailable(Unavailable):
    """The database does not answer; the message names no password, and is a 503 where a client waits for it."""

    code = "database_unavailable"


class CatalogSource(Protocol):
    """Where the catalog is read from."""

    async def load(self) -> Catalog:
        """Return one consistent read of everything, secrets opened (what did not open is in `faults`)."""

    async def version(self) -> int:
        """Return the version that `load` would have now: one cheap read."""


class Snapshots(Protocol):
    """Where a request finds its configuration: it reads `current` once."""

    @property
    def current(self) -> Snapshot | None:
        """Return the snapshot in force, None until the first one is."""


class KeyHasher(Protocol):
    """Turns a client's key into what the catalog stores of it."""

    def hash(self, key: str) -> bytes:
        """Return the keyed hash, the same work for every key."""


class WorkerBoard(Protocol):
    """What the workers of one machine (one `DATA_DIR`) tell one another, in shared memory."""

    def publish_version(self, version: int) -> None:
        """Say which config version this worker serves."""

    def announce_version(self, version: int) -> None:
        """Say that this version exists, so that the others go and fetch it."""

    def announced_version(self) -> int:
        """Return the highest version announced on this machine."""

    def laggards(self, version: int) -> tuple[int, ...]:
        """Return the process ids of the live workers that serve an older version."""

    def try_enter(self, limit: int) -> bool:
        """Count one more request in flight on this machine, unless `limit` are already."""

    def leave(self) -> None:
        """Count one request less."""

    def active(self) -> int:
        """Return the requests in flight on this machine."""
