"""The accounts of a ledger of use: where each has its counts, and which of its days is which."""

from __future__ import annotations

import sys
from collections.abc import Collection
from typing import Final, NamedTuple

from llm_gateway.infra.use_limits.memory import (
    ACCOUNT_CELLS,
    ACCOUNT_CHUNK,
    ACCOUNTS,
    CHUNK_CELLS,
    CHUNKS,
    HAND,
    KEYS,
    KINDS,
    MAX_CHUNKS,
    OPEN,
    Memory,
    new_chunk,
)
from llm_gateway.infra.use_limits.windows import (
    CELLS,
    MINUTE_CELL,
    ROW,
    SECOND_CELL,
    advance,
    used,
    used_at,
)

# An account: two calendar days, and the windows of requests and tokens.
_DAYS: Final = (0, 3)
# Of a day: its start (Unix microseconds), the requests and the tokens that were used.
REQUESTS_OF_DAY, TOKENS_OF_DAY = 1, 2
SECOND, MINUTE, TOKENS = 8, 8 + ROW, 8 + 2 * ROW
# How many counts were taken back from the windows.
RELEASES = 8 + 3 * ROW
_EMPTY_ACCOUNT: Final = memoryview(bytes(ACCOUNT_CELLS * 8)).cast("q")
_EMPTY_WINDOWS: Final = memoryview(bytes(3 * ROW * 8)).cast("q")
# Windows of which one process remembers the sums.
_MOST_SUMS: Final = 1 << 16
# How many accounts one search for an idle one looks at, before and after the memory has its full size.
_SEARCH, _LAST_SEARCH = 8, 512


class Place(NamedTuple):
    """Where an account is: its number, the integers that it is in, and where among them it begins."""

    account: int
    row: memoryview[int]
    at: int


class AccountTable:
    """Finds accounts by their keys; an account that was idle for long makes room for another."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        self._head = memory.head
        # By their keys; an account may have gone since.
        self.places: dict[int, Place] = {}

    def known(self, key: int) -> Place | None:
        """Return the account with this key if this process has used it; needs no lock."""
        place = self.places.get(key)
        return place if place is not None and self._head[KEYS + place[0]] == key else None

    def is_of(self, account: int, key: int) -> bool:
        """Tell whether the account still has this key."""
        return self._head[KEYS + account] == key

    def find(self, key: int, now: int, today: int, others: Collection[Place] = ()) -> Place:
        """Return the account with this key; give it a place, none of `others`, if it has none.

        `now` is monotonic nanoseconds, `today` the start of the calendar day. Raises OSError without room.
        """
        place = self.places.get(key)
        if place is not None and self._head[KEYS + place[0]] == key:
            return place
        account = self._search(key)
        is_new = account is None
        if account is None:
            account = self._claim(now, today, {other.account for other in others})
        place = self._place(account)
        if is_new:
            place.row[place.at : place.at + ACCOUNT_CELLS] = _EMPTY_ACCOUNT
            self._head[KEYS + account] = key
        if len(self.places) > 2 * MAX_CHUNKS * ACCOUNTS:
            self.places.clear()
        self.places[key] = place
        return place

    def _place(self, account: int) -> Place:
        number, offset = divmod(account, ACCOUNTS)
        return Place(account, self._memory.chunk(number), offset * ACCOUNT_CELLS)

    def forget_windows(self) -> None:
        """Empty the windows of all accounts, whose times are those of another boot; days stay."""
        for number in range(self._head[CHUNKS]):
            if self._head[KINDS + number] == ACCOUNT_CHUNK:
                chunk = self._memory.chunk(number)
                for at in range(0, CHUNK_CELLS, ACCOUNT_CELLS):
                    chunk[at + SECOND : at + SECOND + 3 * ROW] = _EMPTY_WINDOWS

    def _search(self, key: int) -> int | None:
        keys = self._head[KEYS : KEYS + self._head[CHUNKS] * ACCOUNTS].tobytes()
        wanted = key.to_bytes(8, sys.byteorder)
        at = keys.find(wanted)
        while at >= 0:
            if at % 8 == 0:
                return at // 8
            at = keys.find(wanted, at + 1)
        return None

    def _claim(self, now: int, today: int, others: Collection[int]) -> int:
        head, count = self._head, self._head[CHUNKS]
        places = count * ACCOUNTS
        looks = _LAST_SEARCH if count == MAX_CHUNKS else _SEARCH
        # Chunks without accounts are skipped as a whole.
        for _ in range(looks + count if places else 0):
            account = head[HAND] % places
            if head[KINDS + account // ACCOUNTS] != ACCOUNT_CHUNK:
                head[HAND] = (account // ACCOUNTS + 1) * ACCOUNTS
                continue
            head[HAND] = account + 1
            if account not in others and self._is_idle(account, now, today):
                # Its former owner looks for another place from now on.
                head[KEYS + account] = 0
                return account
            looks -= 1
            if not looks:
                break
        account = new_chunk(self._memory, ACCOUNT_CHUNK) * ACCOUNTS
        # The rest of the new chunk comes next.
        head[HAND] = account + 1
        return account

    def _is_idle(self, account: int, now: int, today: int) -> bool:
        if self._head[OPEN + account]:
            return False
        _, row, at = self._place(account)
        cell = now // MINUTE_CELL
        return (
            abs(cell - row[at + MINUTE]) >= CELLS
            and abs(cell - row[at + TOKENS]) >= CELLS
            and abs(cell - row[at + SECOND] * SECOND_CELL // MINUTE_CELL) >= CELLS
            and all(
                row[at + day] < today
                or not (row[at + day + REQUESTS_OF_DAY] or row[at + day + TOKENS_OF_DAY])
                for day in _DAYS
            )
        )


class WindowSums:
    """What one process knows of windows: their sums without the newest cells, the only ones that are added to.

    So that a request need not add up all cells.
    """

    __slots__ = ("_known",)

    def __init__(self) -> None:
        # By the account's number and the window: the newest cell, the account's RELEASES, and the sum of all others.
        self._known: dict[int, tuple[int, int, int]] = {}

    def used(self, place: Place, window: int, cell: int) -> int:
        """Make `cell` the newest one of an account's `window`, and return the sum of all."""
        account, row, at = place
        start = at + window
        newest = row[start]
        if newest != cell:
            advance(row, start, cell)
            newest = row[start]
        count, releases = row[start + 1 + newest % CELLS], row[at + RELEASES]
        key = account * ACCOUNT_CELLS + window
        known = self._known.get(key)
        if known is not None and known[0] == newest and known[1] == releases:
            return known[2] + count
        total = used(row, start)
        if len(self._known) >= _MOST_SUMS:
            self._known.clear()
        self._known[key] = newest, releases, total - count
        return total


def window_used_at(place: Place, window: int, cell: int) -> int:
    """Return the sum of an account's `window` at `cell`, without changing anything."""
    _, row, at = place
    return used_at(row, at + window, cell)


def find_day(row: memoryview[int], at: int, day: int) -> int | None:
    """Return where the counts of a day are in the row of the account that begins `at`; None if it has none."""
    first, second = _DAYS
    if row[at + first] == day:
        return at + first
    return at + second if row[at + second] == day else None


def open_day(row: memoryview[int], at: int, today: int) -> int:
    """Return where the counts of a day are, in place of those of the older of two days if it is new.

    Two days are kept: a clock that is set back over midnight finds what was used of the day before.
    """
    entry = find_day(row, at, today)
    if entry is None:
        entry = at + min(_DAYS, key=lambda day: row[at + day])
        # In this order, so that a killed process leaves no counts under the name of another day.
        row[entry] = 0
        row[entry + REQUESTS_OF_DAY] = 0
        row[entry + TOKENS_OF_DAY] = 0
        row[entry] = today
    return entry
