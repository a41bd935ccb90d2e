"""The ledger of use: what accounts have used of their limits, and what open requests hold.

Every method is called under the lock of the memory, except where it says that it needs none.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import tzinfo
from typing import Final

import msgspec

from llm_gateway.core.calendar import Period, day_of
from llm_gateway.flow.ports.limits import Room
from llm_gateway.flow.ports.use_limits import Claim, LimitName, Shortage
from llm_gateway.infra.use_limits.accounts import (
    MINUTE,
    RELEASES,
    REQUESTS_OF_DAY,
    SECOND,
    TOKENS,
    TOKENS_OF_DAY,
    AccountTable,
    Place,
    WindowSums,
    find_day,
    open_day,
    window_used_at,
)
from llm_gateway.infra.use_limits.hold_table import HoldTable
from llm_gateway.infra.use_limits.memory import HELD, KEYS, OPEN, Memory
from llm_gateway.infra.use_limits.windows import (
    CELLS,
    MINUTE_CELL,
    SECOND_CELL,
    add,
    advance,
    subtract,
    until_free,
)

# Far more than any request uses, and far less than integers hold.
_MOST_TOKENS, _MOST_OF_DAY = 1 << 40, 1 << 62
# Seconds after which it is worth asking again when open requests have to end first.
_SHORTLY = 1.0
_NONE: Final = -1


# Neither struct can be part of a reference cycle, so the garbage collector skips them (gc=False). They are made by
# position, which is several times as fast as by name.
class Taken(msgspec.Struct, frozen=True, gc=False):
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


class Admitted(msgspec.Struct, frozen=True, gc=False):
    """A request that was admitted: what it took, and what it left."""

    taken: Sequence[Taken]
    # Whether it holds something that its end gives back.
    has_holds: bool
    requests: Room | None
    tokens: Room | None
    ledger: UseLedger


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
        self._head = memory.head
        self._sums = WindowSums()
        self._zone = zone
        self._monotonic_ns = monotonic_ns
        self._unix_us = unix_us
        self._day = Period(0, 0)

    def hold(self, claims: Sequence[Claim]) -> Admitted | Shortage:
        """Admit a request under all claims, or return the shortage that lasts longest; OSError without room."""
        if len(claims) == 1:
            admitted = self._hold_one(claims[0])
            if admitted is not None:
                return admitted
        now, unix_us = self._monotonic_ns(), self._unix_us()
        day = self._day
        if not day.start <= unix_us < day.end:
            day = self._day = day_of(unix_us, self._zone)
        places: list[Place] = []
        for claim in claims:
            places.append(self.accounts.find(claim.key, now, day.start, places))
        check = self._check(claims, places, now, unix_us)
        if check.shortages:
            return max(check.shortages, key=_severity)
        if check.has_holds:
            self.holds.ensure_places(len(claims))
        taken = [self._take(claim, place, day.start) for claim, place in zip(claims, places, strict=True)]
        return Admitted(taken, check.has_holds, check.requests, check.tokens, self)

    def _hold_one(self, claim: Claim) -> Admitted | None:  # noqa: C901, PLR0911, PLR0912 - as in `_check`
        """Admit a request of one account whose place is known, if nothing is short; else None, and nothing is taken.

        It decides as `_check` does and takes what `_take` does, in one frame and without what refusals need.
        """
        key, limits, tokens = claim
        place = self.accounts.places.get(key)
        if place is None or limits.requests_per_second is not None:
            return None
        head, (account, row, at) = self._head, place
        if head[KEYS + account] != key:
            return None
        now, today = self._monotonic_ns(), self._day.start
        per_minute, per_day, concurrent = (
            limits.requests_per_minute,
            limits.requests_per_day,
            limits.concurrent_requests,
        )
        tokens_per_minute, tokens_per_day = limits.tokens_per_minute, limits.tokens_per_day
        left = 0.0
        if per_day is not None or tokens_per_day is not None:
            unix_us, day = self._unix_us(), self._day
            if not day.start <= unix_us < day.end:
                return None
            left = (day.end - unix_us) / 1e6
        # The limit on requests and the limit on tokens that are nearest to their ends.
        most = room = reset = most_tokens = token_room = token_reset = None
        if per_minute is not None:
            room = per_minute - self._sums.used(place, MINUTE, now // MINUTE_CELL) - 1
            if room < 0:
                return None
            most, reset = per_minute, 60.0
        counts = 0
        if per_day is not None or tokens_per_day is not None:
            counts = open_day(row, at, today)
        if per_day is not None:
            remaining = per_day - row[counts + REQUESTS_OF_DAY] - 1
            if remaining < 0:
                return None
            if room is None or remaining < room:
                most, room, reset = per_day, remaining, left
        if concurrent is not None and head[OPEN + account] >= concurrent:
            return None
        counts_tokens = tokens_per_minute is not None or tokens_per_day is not None
        if counts_tokens:
            held, least = head[HELD + account] + tokens, 0 if tokens > 0 else 1
            if tokens_per_minute is not None:
                token_room = tokens_per_minute - self._sums.used(place, TOKENS, now // MINUTE_CELL) - held
                if token_room < least:
                    return None
                most_tokens, token_reset = tokens_per_minute, 60.0
            if tokens_per_day is not None:
                remaining = tokens_per_day - row[counts + TOKENS_OF_DAY] - held
                if remaining < least:
                    return None
                if token_room is None or remaining < token_room:
                    most_tokens, token_room, token_reset = tokens_per_day, remaining, left
        hold = minute = _NONE
        has_holds = counts_tokens or concurrent is not None
        if has_holds:
            hold = self.holds.add_at_once(account, tokens if tokens <= _MOST_TOKENS else _MOST_TOKENS)  # noqa: FURB136
        if per_minute is not None:
            # As `add` does, without its frame.
            minute = row[at + MINUTE]
            row[at + MINUTE + 1 + minute % CELLS] += 1
        if per_day is not None:
            row[counts + REQUESTS_OF_DAY] += 1
        taken = Taken(
            place,
            key,
            hold,
            _NONE,
            minute,
            today,
            per_day is not None,
            tokens_per_minute is not None,
            tokens_per_day is not None,
        )
        return Admitted(
            (taken,),
            has_holds,
            None if most is None or room is None or reset is None else Room(most, room, reset),
            None
            if most_tokens is None or token_room is None or token_reset is None
            else Room(most_tokens, token_room, token_reset),
            self,
        )

    def settle(self, taken: Sequence[Taken], tokens: int) -> None:
        """Give back what is held, and count `tokens` as used."""
        if not 0 <= tokens <= _MOST_TOKENS:
            tokens = min(max(tokens, 0), _MOST_TOKENS)
        head = self._head
        for one in taken:
            account, row, at = one.place
            # As `_give_back` and `add` do, without their frames.
            if head[KEYS + account] != one.key:
                continue
            if one.hold != _NONE:
                self.holds.remove(one.hold, account)
            if not tokens:
                continue
            if one.counts_token_minute:
                start, cell = at + TOKENS, self._monotonic_ns() // MINUTE_CELL
                if row[start] != cell:
                    advance(row, start, cell)
                    cell = row[start]
                row[start + 1 + cell % CELLS] += tokens
            if one.counts_token_day and (day := find_day(row, at, one.day)) is not None:
                row[day + TOKENS_OF_DAY] = min(row[day + TOKENS_OF_DAY] + tokens, _MOST_OF_DAY)

    def release(self, taken: Sequence[Taken]) -> None:
        """Give everything back."""
        for one in taken:
            if not self._give_back(one):
                continue
            _, row, at = one.place
            # First, so that no process goes on with a sum that is too large, wherever this one is killed.
            row[at + RELEASES] += 1
            if one.second != _NONE:
                subtract(row, at + SECOND, one.second, 1)
            if one.minute != _NONE:
                subtract(row, at + MINUTE, one.minute, 1)
            if one.counts_day and (day := find_day(row, at, one.day)) is not None:
                row[day + REQUESTS_OF_DAY] = max(row[day + REQUESTS_OF_DAY] - 1, 0)

    def shortage(self, claims: Sequence[Claim]) -> Shortage | None:
        """Return what a request would be refused for now, as far as this process knows; needs no lock."""
        unix_us = self._unix_us()
        if not self._day.start <= unix_us < self._day.end:
            self._day = day_of(unix_us, self._zone)
        places = [self.accounts.known(claim.key) for claim in claims]
        check = self._check(claims, places, self._monotonic_ns(), unix_us, reads_only=True)
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
        account = one.place[0]
        if self._head[KEYS + account] != one.key:
            return False
        if one.hold != _NONE:
            self.holds.remove(one.hold, account)
        return True

    def _check(  # noqa: C901, PLR0912, PLR0915 - a helper would cost every limit of a request a frame
        self,
        claims: Sequence[Claim],
        places: Sequence[Place | None],
        now: int,
        unix_us: int,
        *,
        reads_only: bool = False,
    ) -> _Check:
        """Find what falls short, and what would be left; accounts without a place have used nothing."""
        head, today = self._head, self._day.start
        used = window_used_at if reads_only else self._sums.used
        day_of_row = find_day if reads_only else open_day
        check = _Check(self._day.end)
        for position, claim in enumerate(claims):
            place, limits = places[position], claim.limits
            if place is None:
                continue
            account, row, at = place
            limit = limits.requests_per_second
            if limit is not None:
                count = used(place, SECOND, now // SECOND_CELL)
                if count >= limit:
                    wait = until_free(row, at + SECOND, count + 1 - limit, now, SECOND_CELL)
                    check.short(position, "requests_per_second", limit, count, 0, 1, wait)
                check.show_requests(limit, limit - count - 1, 1.0)
            limit = limits.requests_per_minute
            if limit is not None:
                count = used(place, MINUTE, now // MINUTE_CELL)
                if count >= limit:
                    wait = until_free(row, at + MINUTE, count + 1 - limit, now, MINUTE_CELL)
                    check.short(position, "requests_per_minute", limit, count, 0, 1, wait)
                check.show_requests(limit, limit - count - 1, 60.0)
            limit = limits.requests_per_day
            if limit is not None:
                day, left = day_of_row(row, at, today), (check.tomorrow - unix_us) / 1e6
                count = 0 if day is None else row[day + REQUESTS_OF_DAY]
                if count >= limit:
                    check.short(position, "requests_per_day", limit, count, 0, 1, left)
                check.show_requests(limit, limit - count - 1, left)
            limit = limits.concurrent_requests
            if limit is not None:
                check.has_holds = True
                count = head[OPEN + account]
                if count >= limit:
                    check.short(position, "concurrent_requests", limit, 0, count, 1, _SHORTLY)
            limit, per_day = limits.tokens_per_minute, limits.tokens_per_day
            if limit is None and per_day is None:
                continue
            check.has_holds = True
            tokens, held = claim.tokens, head[HELD + account]
            if limit is not None:
                count = used(place, TOKENS, now // MINUTE_CELL)
                if _is_short(limit, count + held, tokens):
                    missing = count + held + tokens - limit
                    # What is held may come back at any time, and has to if the window alone is not enough.
                    wait = _SHORTLY
                    if count >= missing:
                        wait = until_free(row, at + TOKENS, missing, now, MINUTE_CELL)
                    check.short(position, "tokens_per_minute", limit, count, held, tokens, wait)
                check.show_tokens(limit, limit - count - held - tokens, 60.0)
            if per_day is not None:
                day, left = day_of_row(row, at, today), (check.tomorrow - unix_us) / 1e6
                count = 0 if day is None else row[day + TOKENS_OF_DAY]
                if _is_short(per_day, count + held, tokens):
                    check.short(position, "tokens_per_day", per_day, count, held, tokens, left)
                check.show_tokens(per_day, per_day - count - held - tokens, left)
        return check


class _Check:
    """What the claims of one request fall short of, and what would be left."""

    __slots__ = ("has_holds", "requests", "shortages", "tokens", "tomorrow")

    def __init__(self, tomorrow: int) -> None:
        self.tomorrow = tomorrow
        self.has_holds = False
        self.shortages: list[Shortage] = []
        self.requests: Room | None = None
        self.tokens: Room | None = None

    def short(
        self, position: int, name: LimitName, limit: int, count: int, held: int, amount: int, wait: float
    ) -> None:
        # What does not fit into an unused limit never will.
        lasts = limit == 0 or amount > limit
        reset_at = self.tomorrow if name.endswith("day") else 0
        self.shortages.append(Shortage(position, name, limit, count, held, None if lasts else wait, reset_at))

    def show_requests(self, limit: int, remaining: int, reset_after: float) -> None:
        if self.requests is None or remaining < self.requests.remaining:
            self.requests = Room(limit, remaining, reset_after)

    def show_tokens(self, limit: int, remaining: int, reset_after: float) -> None:
        if self.tokens is None or remaining < self.tokens.remaining:
            self.tokens = Room(limit, remaining, reset_after)


def _is_short(limit: int, taken: int, tokens: int) -> bool:
    # With nothing to add, what is full already is short, too.
    return taken + max(tokens, 1) > limit


def _severity(shortage: Shortage) -> float:
    return float("inf") if shortage.wait is None else shortage.wait
