"""Stores of use: what accounts have used of their limits, and what open requests hold."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from typing import Literal, NamedTuple, Protocol

import msgspec

from llm_gateway.core.config.limits import Limits
from llm_gateway.flow.ports.limits import Room

LimitName = Literal[
    "requests_per_second",
    "requests_per_minute",
    "requests_per_day",
    "tokens_per_minute",
    "tokens_per_day",
    "concurrent_requests",
]


class Claim(NamedTuple):
    """What one request asks of one account: a request, and `tokens`, under `limits`."""

    # Identifies the account in the store; positive, below 2^63.
    key: int
    limits: Limits
    # 0 where no limit on tokens applies.
    tokens: int


class Shortage(NamedTuple):
    """Why a claim is refused; what is used and held does not include the request itself."""

    # The position of the claim among those of the request.
    position: int
    name: LimitName
    limit: int
    used: int
    held: int
    # Seconds until the request may be admitted, if nobody else is; None = never under this limit.
    wait: float | None
    # When the calendar day ends, in Unix microseconds; 0 for other windows.
    reset_at: int = 0


class HeldUse(msgspec.Struct, frozen=True, gc=False):
    """An admitted request. `token` is the store's own."""

    token: object
    # None = no limit of that sort applies.
    requests: Room | None
    tokens: Room | None


class UseStore(Protocol):
    """Counts what is used of limits. Nothing raises, but for cancellation: the store deals with its own failures.

    Seconds and minutes slide; a day is a calendar day in the gateway's time zone. Tokens are held from the admission
    to the end of a request, and then counted as used from that moment on.
    """

    def hold(self, claims: Sequence[Claim]) -> HeldUse | Shortage | Awaitable[HeldUse | Shortage]:
        """Admit the request under all claims, or under none; the caller awaits an awaitable at once.

        What is taken is given back when the awaitable is cancelled.
        """

    def settle(self, held: HeldUse, tokens: int) -> None:
        """End an admitted request that used `tokens`. Never blocks."""

    def release(self, held: HeldUse) -> None:
        """Take an admitted request back, as if there had been none. Never blocks."""

    def shortage(self, claims: Sequence[Claim]) -> Shortage | None:
        """Return what `hold` would refuse the claims for now, as far as that can be told at once; take nothing."""
