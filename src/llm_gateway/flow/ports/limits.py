"""Limits that requests are held to, what they reserve, and rate limiters."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Final, Protocol

import msgspec

from llm_gateway.core.config.snapshot import Principal
from llm_gateway.core.ledger.records import UsageRecord
from llm_gateway.core.model_request import ModelRequest


class Reservation(Protocol):
    """What one request holds under a limit, from its admission to its end.

    Exactly one of the two methods is called, exactly once, however the request ends. They must neither block nor
    raise.
    """

    def settle(self, record: UsageRecord) -> None:
        """Replace what was reserved with what `record` says was used."""

    def release(self) -> None:
        """Give the whole reservation back: no provider was called."""


class _NothingHeld(Reservation):
    __slots__ = ()

    def settle(self, record: UsageRecord) -> None:
        pass

    def release(self) -> None:
        pass


# Nothing has to be settled or released. Shared by all requests, so that they allocate nothing.
NOTHING_HELD: Final[Reservation] = _NothingHeld()


class Verdict(msgspec.Struct, frozen=True, gc=False):
    """What a limit says of one request; times are seconds from now."""

    allowed: bool
    limit: int
    # How many more would be admitted now.
    remaining: int
    # Until a request may be admitted again (0.0 if one may now).
    retry_after: float
    # Until the whole limit is free again.
    reset_after: float
    reservation: Reservation = NOTHING_HELD


# The account has no limit of this sort.
NOT_LIMITED: Final = Verdict(allowed=True, limit=0, remaining=0, retry_after=0.0, reset_after=0.0)


class Limit(Protocol):
    """One limit, or several that are reserved together."""

    def reserve(self, account: Principal, request: ModelRequest, /) -> Verdict | Awaitable[Verdict]:
        """Reserve what the request may use; NOT_LIMITED if the limit does not apply to the account.

        Returns the verdict itself where nothing has to be waited for, and an awaitable otherwise, which the caller
        awaits at once. Raises GatewayError, here or from the awaitable, when the limit is reached. When it raises
        or is cancelled, nothing stays reserved.
        """


class RateLimiter(Protocol):
    """At most `limit` requests of one credential in any one second, the first `limit` at once."""

    async def hit(self, credential_id: int, limit: int) -> Verdict:
        """Take one place if there is one. Never raises: the limiter deals with a failing store itself."""

    def hit_nowait(self, credential_id: int, limit: int) -> Verdict | None:
        """Do as `hit` does without waiting; return None, with nothing taken, if it would have to wait."""
