"""The ledger of use: what accounts have used of their limits, and what open requests hold.

Every method is called under the lock of the memory, except where it says that it needs none.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import tzinfo
from typing import Final, Literal, NamedTuple

from llm_gateway.core.calendar import Period, day_of
from llm_gateway.flow.ports.limits import Room
from llm_gateway.flow.ports.use_limits import Claim, LimitName, Shortage
from llm_gateway.infra.use_limits.accounts import (
    MINUTE,
    REQUESTS_OF_DAY,
    SECOND,
    TOKENS,
    TOKENS_OF_DAY,
    AccountTable,
    Place,
    find_day,
    open_day,
)
from llm_gateway.infra.use_limits.hold_table import HoldTable
from llm_gateway.infra.use_limits.memory import Memory
from llm_gateway.infra.use_limits.windows import (
    MINUTE_CELL,
    SECOND_CELL,
    add,
    advance,
    subtract,
    until_free,
    used,
    used_at,
)

# Far more than any request uses, and far less than integers hold.
_MOST_TOKENS, _MOST_OF_DAY = 1 << 40, 1 << 62
# Seconds after which it is worth asking again when open requests have to end first.
_SHORTLY = 1.0
_NONE: Final = -1


class Taken(NamedTuple):
    """What one request took from one account."""

    place: Place
    key: int
    # The place of the hold, and the cells of the windows that the request was added to; -1 = there is none.
    hold: int
    second: int
    minute: int
    # The start of the day at that time, and what is counted.
    day: int
    counts_day: bool
    counts_token_minute: bool
    counts_token_day: bool

    @property
    def has_hold(self) -> bool:
        return self.hold != _NONE


class Admitted(NamedTuple):
    """A request that was admitted: what it took, and what it left."""

    taken: Sequence[Taken]
    requests: Room | None
    tokens: Room | None


class UseLedger:
    """Counts in `memory`, as the owner with `number`."""

    def __init__(
        self,
        memory: Memory,
        number: int,
        zone: tzinfo,
        *,
        monotonic_ns: Callable[[], int],
        unix_us: Callable[[], int],
    ) -> None:
        """`monotonic_ns` counts from the machine's start, the same in every process."""
        self.accounts = AccountTable(memory)
        self.holds = HoldTable(memory, number)
        self._zone = zone
        self._monotonic_ns = monotonic_ns
        self._unix_us = unix_us
        self._day = Period(0, 0)

    def hold(self, claims: Sequence[Claim]) -> Admitted | Shortage:
        """Admit a request under all claims, or return the shortage that lasts longest; OSError without room."""
        now = self._monotonic_ns()
        unix_us, today, tomorrow = self._today()
        check = _Check(self.holds, now, unix_us, today, tomorrow)
        places: list[Place] = []
        for position, claim in enumerate(claims):
            place = self.accounts.find(claim.key, now, today, places)
            check.claim(position, claim, place)
            places.append(place)
        if check.shortages:
            return max(check.shortages, key=_severity)
        self.holds.ensure_places(len(claims))
        taken = [self._take(claim, place, today) for claim, place in zip(claims, places, strict=True)]
        return Admitted(taken, check.requests, check.tokens)

    def settle(self, taken: Sequence[Taken], tokens: int) -> None:
        """Give back what is held, and count `tokens` as used."""
        tokens = min(max(tokens, 0), _MOST_TOKENS)
        for one in taken:
            if not self._give_back(one) or not tokens:
                continue
            _, row, at = one.place
            if one.counts_token_minute:
                advance(row, at + TOKENS, self._monotonic_ns() // MINUTE_CELL)
                add(row, at + TOKENS, tokens)
            if one.counts_token_day and (day := find_day(row, at, one.day)) is not None:
                row[day + TOKENS_OF_DAY] = min(row[day + TOKENS_OF_DAY] + tokens, _MOST_OF_DAY)

    def release(self, taken: Sequence[Taken]) -> None:
        """Give everything back."""
        for one in taken:
            if not self._give_back(one):
                continue
            _, row, at = one.place
            if one.second != _NONE:
                subtract(row, at + SECOND, one.second, 1)
            if one.minute != _NONE:
                subtract(row, at + MINUTE, one.minute, 1)
            if one.counts_day and (day := find_day(row, at, one.day)) is not None:
                row[day + REQUESTS_OF_DAY] = max(row[day + REQUESTS_OF_DAY] - 1, 0)

    def shortage(self, claims: Sequence[Claim]) -> Shortage | None:
        """Return what a request would be refused for now, as far as this process knows; needs no lock."""
        check = _Check(self.holds, self._monotonic_ns(), *self._today(), reads_only=True)
        for position, claim in enumerate(claims):
            place = self.accounts.known(claim.key)
            if place is not None:
                check.claim(position, claim, place)
        return max(check.shortages, key=_severity, default=None)

    def _take(self, claim: Claim, place: Place, today: int) -> Taken:
        limits = claim.limits
        account, row, at = place
        hold = second = minute = _NONE
        counts_token_minute = limits.tokens_per_minute is not None
        counts_token_day = limits.tokens_per_day is not None
        if counts_token_minute or counts_token_day or limits.concurrent_requests is not None:
            hold = self.holds.add(account, min(claim.tokens, _MOST_TOKENS))
        if limits.requests_per_second is not None:
            second = add(row, at + SECOND, 1)
        if limits.requests_per_minute is not None:
            minute = add(row, at + MINUTE, 1)
        counts_day = limits.requests_per_day is not None
        if counts_day:
            row[open_day(row, at, today) + REQUESTS_OF_DAY] += 1
        return Taken(
            place, claim.key, hold, second, minute, today, counts_day, counts_token_minute, counts_token_day
        )

    def _give_back(self, one: Taken) -> bool:
        """Remove the hold; tell whether the account is still the same."""
        account = one.place.account
        if not self.accounts.is_of(account, one.key):
            return False
        if one.hold != _NONE:
            self.holds.remove(one.hold, account)
        return True

    def _today(self) -> tuple[int, int, int]:
        """Return the time, and the start and the end of the calendar day."""
        now = self._unix_us()
        day = self._day
        if not day.start <= now < day.end:
            day = self._day = day_of(now, self._zone)
        return now, day.start, day.end


class _Check:
    """Checks the claims of one request, and collects what falls short and what would be left."""

    __slots__ = (
        "_holds", "_left", "_now", "_reads_only", "_today", "_tomorrow", "requests", "shortages", "tokens",
    )  # fmt: skip

    def __init__(
        self,
        holds: HoldTable,
        now: int,
        unix_us: int,
        today: int,
        tomorrow: int,
        *,
        reads_only: bool = False,
    ) -> None:
        self._holds = holds
        self._reads_only = reads_only
        self._now = now
        self._today = today
        self._tomorrow = tomorrow
        # Seconds until the day ends.
        self._left = (tomorrow - unix_us) / 1e6
        self.shortages: list[Shortage] = []
        self.requests: Room | None = None
        self.tokens: Room | None = None

    def claim(self, position: int, claim: Claim, place: Place) -> None:
        """Check one claim on the account at `place`."""
        limits = claim.limits
        account, row, at = place
        if limits.requests_per_second is not None:
            limit = limits.requests_per_second
            self._window("requests_per_second", position, limit, row, at + SECOND, SECOND_CELL, 1.0)
        if limits.requests_per_minute is not None:
            limit = limits.requests_per_minute
            self._window("requests_per_minute", position, limit, row, at + MINUTE, MINUTE_CELL, 60.0)
        if limits.requests_per_day is not None:
            limit, count = limits.requests_per_day, self._of_day(row, at, REQUESTS_OF_DAY)
            if count >= limit:
                self._short(position, "requests_per_day", limit, count, 0, 1, self._left)
            self._show_requests(limit, limit - count - 1, self._left)
        if limits.concurrent_requests is not None:
            limit, count = limits.concurrent_requests, self._holds.open_requests(account)
            if count >= limit:
                self._short(position, "concurrent_requests", limit, 0, count, 1, _SHORTLY)
        if limits.tokens_per_minute is not None:
            self._token_window(position, limits.tokens_per_minute, claim.tokens, account, row, at + TOKENS)
        if limits.tokens_per_day is not None:
            limit, count = limits.tokens_per_day, self._of_day(row, at, TOKENS_OF_DAY)
            held = self._holds.held_tokens(account)
            if _is_short(limit, count + held, claim.tokens):
                self._short(position, "tokens_per_day", limit, count, held, claim.tokens, self._left)
            self._show_tokens(limit, limit - count - held - claim.tokens, self._left)

    def _window(
        self,
        name: Literal["requests_per_second", "requests_per_minute"],
        position: int,
        limit: int,
        row: memoryview[int],
        at: int,
        cell_ns: int,
        seconds: float,
    ) -> None:
        count = self._used(row, at, self._now // cell_ns)
        if count >= limit:
            wait = until_free(row, at, count + 1 - limit, self._now, cell_ns)
            self._short(position, name, limit, count, 0, 1, wait)
        self._show_requests(limit, limit - count - 1, seconds)

    def _token_window(
        self, position: int, limit: int, tokens: int, account: int, row: memoryview[int], at: int
    ) -> None:
        count, held = self._used(row, at, self._now // MINUTE_CELL), self._holds.held_tokens(account)
        if _is_short(limit, count + held, tokens):
            missing = count + held + tokens - limit
            # What is held may come back at any time, and has to if the window alone is not enough.
            wait = until_free(row, at, missing, self._now, MINUTE_CELL) if count >= missing else _SHORTLY
            self._short(position, "tokens_per_minute", limit, count, held, tokens, wait)
        self._show_tokens(limit, limit - count - held - tokens, 60.0)

    def _used(self, row: memoryview[int], at: int, cell: int) -> int:
        if self._reads_only:
            return used_at(row, at, cell)
        advance(row, at, cell)
        return used(row, at)

    def _of_day(self, row: memoryview[int], at: int, what: int) -> int:
        day = find_day(row, at, self._today) if self._reads_only else open_day(row, at, self._today)
        return 0 if day is None else row[day + what]

    def _short(
        self, position: int, name: LimitName, limit: int, count: int, held: int, amount: int, wait: float
    ) -> None:
        # What does not fit into an unused limit never will.
        lasts = limit == 0 or amount > limit
        self.shortages.append(
            Shortage(
                position,
                name,
                limit,
                count,
                held,
                None if lasts else wait,
                self._tomorrow if name.endswith("day") else 0,
            )
        )

    def _show_requests(self, limit: int, remaining: int, reset_after: float) -> None:
        if self.requests is None or remaining < self.requests.remaining:
            self.requests = Room(limit, remaining, reset_after)

    def _show_tokens(self, limit: int, remaining: int, reset_after: float) -> None:
        if self.tokens is None or remaining < self.tokens.remaining:
            self.tokens = Room(limit, remaining, reset_after)


def _is_short(limit: int, taken: int, tokens: int) -> bool:
    # With nothing to add, what is full already is short, too.
    return taken + max(tokens, 1) > limit


def _severity(shortage: Shortage) -> float:
    return float("inf") if shortage.wait is None else shortage.wait
