"""Limits that requests are held to, what they reserve, and rate limiters."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Final, Protocol, TypeAlias

import msgspec

from llm_gateway.core.config.deployments import Deployment
from llm_gateway.core.config.snapshot import Principal
from llm_gateway.core.ledger.served import SettledRequest
from llm_gateway.core.model_request import ModelRequest
from llm_gateway.flow.ports.dialect import NO_ATTRIBUTION, Attribution


class ExpectedTokens(msgspec.Struct, frozen=True, gc=False):
    """What a request is taken to use until that is known."""

    prompt: int
    completion: int
    # Whether the request itself bounds the completion; else it is a guess.
    is_stated: bool = False

    @property
    def total(self) -> int:
        return self.prompt + self.completion


class Demand(msgspec.Struct, gc=False):
    """What one request is about to use, as far as that is known before a provider is called."""

    request: ModelRequest
    # Of the request: Unix microseconds.
    created_at: int
    request_bytes: int = 0
    attribution: Attribution = NO_ATTRIBUTION
    # The first of those that may serve it; its prices are the ones to reckon with.
    deployment: Deployment | None = None
    # All that may, without falling back to another model.
    deployments: Sequence[Deployment] = ()
    # Once it was estimated, for all limits alike.
    expected: ExpectedTokens | None = None


class Reservation(Protocol):
    """What one request holds under a limit, from its admission to its end.

    Exactly one of the two methods is called, exactly once, however the request ends. They must neither block nor
    raise.
    """

    def settle(self, record: SettledRequest) -> None:
        """Replace what was reserved with what `record` says was used."""

    def release(self) -> None:
        """Give the whole reservation back: no provider was called."""


class _NothingHeld(Reservation):
    __slots__ = ()

    def settle(self, record: SettledRequest) -> None:
        pass

    def release(self) -> None:
        pass


# Nothing has to be settled or released. Shared by all requests, so that they allocate nothing.
NOTHING_HELD: Final[Reservation] = _NothingHeld()


class Room(msgspec.Struct, frozen=True, gc=False):
    """What a request leaves of the limit that it brings nearest to its end; seconds until all of it is free again."""

    limit: int
    remaining: int
    reset_after: float


class Verdict(msgspec.Struct, gc=False):
    """What a limit says of one request; times are seconds from now.

    An allowed request with `limit` 0 has no limit on requests to show. Each verdict is made for one request, and who
    asks for it may add to it what other limits say; NOT_LIMITED alone is shared and never changed.
    """

    allowed: bool
    limit: int
    # How many more would be admitted now.
    remaining: int
    # Until a request may be admitted again (0.0 if one may now).
    retry_after: float
    # Until the whole limit is free again.
    reset_after: float
    reservation: Reservation = NOTHING_HELD
    # None = no limit on tokens applies.
    tokens: Room | None = None


# The account has no limit of this sort.
NOT_LIMITED: Final = Verdict(allowed=True, limit=0, remaining=0, retry_after=0.0, reset_after=0.0)


class _Both(Reservation):
    """Reservations that end together, the last one first."""

    __slots__ = ("_first", "_last")

    def __init__(self, first: Reservation, last: Reservation) -> None:
        self._first = first
        self._last = last

    def settle(self, record: SettledRequest) -> None:
        self._last.settle(record)
        self._first.settle(record)

    def release(self) -> None:
        self._last.release()
        self._first.release()


def merged(first: Verdict, last: Verdict) -> Verdict:
    """Return the verdict of limits that all allow a request, of which `first` were asked before `last`.

    It shows the limit on requests and the limit on tokens that are nearest to their ends.
    """
    if first is NOT_LIMITED:
        return last
    if last is NOT_LIMITED:
        return first
    limit, remaining = last.limit, last.remaining
    if limit and (not first.limit or remaining < first.remaining):
        first.limit, first.remaining = limit, remaining
        first.retry_after, first.reset_after = last.retry_after, last.reset_after
    room, tokens = last.tokens, first.tokens
    if room is not None and (tokens is None or room.remaining < tokens.remaining):
        first.tokens = room
    if last.reservation is not NOTHING_HELD:
        hold_too(first, last.reservation)
    return first


def hold_too(verdict: Verdict, reservation: Reservation) -> None:
    """Add a reservation to those of a verdict."""
    held = verdict.reservation
    verdict.reservation = reservation if held is NOTHING_HELD else _Both(held, reservation)


# Does for one account what `Limit.reserve` does.
Reserve: TypeAlias = Callable[[Demand], Verdict | Awaitable[Verdict]]


class Limit(Protocol):
    """One limit, or several that are reserved together."""

    def check(self, account: Principal, /) -> None:
        """Raise GatewayError if the limit is reached already, as far as that can be told at once; reserve nothing.

        Asked before work on a large body is done. A request that passes may still be refused by `reserve`.
        """

    def reserve(self, account: Principal, demand: Demand, /) -> Verdict | Awaitable[Verdict]:
        """Reserve what the request may use; NOT_LIMITED if the limit does not apply to the account.

        Returns the verdict itself where nothing has to be waited for, and an awaitable otherwise, which the caller
        awaits at once. Raises GatewayError, here or from the awaitable, when the limit is reached. When it raises
        or is cancelled, nothing stays reserved.
        """

    def for_account(self, account: Principal, first: Reserve | None = None, /) -> Reserve | None:
        """Return what reserves for the requests of an account what `first` does, and then this limit, or neither.

        Return `first` itself if this limit applies to none of them. The answer holds as long as the account does,
        which every change of the configuration replaces.
        """
        own = partial(self.reserve, account)
        return own if first is None else in_turn(first, own)


def in_turn(first: Reserve, last: Reserve) -> Reserve:
    """Return what reserves both, or neither."""

    def reserve(demand: Demand) -> Verdict | Awaitable[Verdict]:
        verdict = first(demand)
        if not isinstance(verdict, Verdict):
            return go_on(verdict, last, demand)
        try:
            answer = last(demand)
        except BaseException:
            verdict.reservation.release()
            raise
        return merged(verdict, answer) if isinstance(answer, Verdict) else wait_too(verdict, answer)

    return reserve


async def go_on(waiting: Awaitable[Verdict], last: Reserve, demand: Demand) -> Verdict:
    """Reserve the rest, too, after a limit that has to be waited for."""
    verdict = await waiting
    try:
        answer = last(demand)
    except BaseException:
        verdict.reservation.release()
        raise
    return merged(verdict, answer) if isinstance(answer, Verdict) else await wait_too(verdict, answer)


async def wait_too(verdict: Verdict, waiting: Awaitable[Verdict]) -> Verdict:
    """Wait for a limit, and give back what those before it hold if it fails."""
    try:
        return merged(verdict, await waiting)
    except BaseException:
        verdict.reservation.release()
        raise


class RateLimiter(Protocol):
    """At most `limit` requests of one credential in any one second, the first `limit` at once."""

    async def hit(self, credential_id: int, limit: int) -> Verdict:
        """Take one place if there is one. Never raises: the limiter deals with a failing store itself."""

    def hit_nowait(self, credential_id: int, limit: int) -> Verdict | None:
        """Do as `hit` does without waiting; return None, with nothing taken, if it would have to wait."""

    def full(self, credential_id: int, limit: int) -> Verdict | None:
        """Return the verdict that `hit` would refuse a request with now; None if it would not, or may not.

        Takes nothing and never waits: where only a shared store knows, the answer is None.
        """
