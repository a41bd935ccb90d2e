"""Journals refused requests, which cost nothing to send: floods of them must not fill the database."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

import msgspec

from llm_gateway.core.ledger.records import UsageRecord
from llm_gateway.flow.ports.ledger import Journal, RefusalLog

# Seconds whose refusals are counted together.
_WINDOW: Final = 1.0
# Credential, status and error: refusals that differ in none of them become one row when there are many.
_Kind = tuple[str | None, int, str | None]


class Refusals(RefusalLog):
    """Journals the first refusals of each kind in a second as they are, and all others of that second as one record.

    That record has the id of the first of them, their number in `requests`, the sum of their bytes, and no model or
    client where they differ. Requests without a valid key have one record a second from the start, because anyone
    can send them. What is counted together is journalled when the second is over: a killed process loses it.
    """

    __slots__ = ("_call_later", "_journal", "_kinds", "_most")

    def __init__(
        self,
        journal: Journal,
        *,
        most: int = 10,
        call_later: Callable[[float, Callable[[], None]], object] | None = None,
    ) -> None:
        """`most` is how many refusals of a credential and kind have a record each; the clock is the event loop's."""
        self._journal = journal
        self._most = most
        self._call_later = call_later
        self._kinds: dict[_Kind, _Kindred] = {}

    def add(self, record: UsageRecord) -> None:
        """Journal a refused request, now or with others."""
        kind = record.credential, record.status_code, record.error_type
        kindred = self._kinds.get(kind)
        if kindred is None:
            if not self._kinds:
                later = self._call_later or asyncio.get_running_loop().call_later
                later(_WINDOW, self.flush)
            kindred = self._kinds[kind] = _Kindred(0 if record.credential is None else self._most)
        if kindred.room:
            kindred.room -= 1
            self._journal.end(record)
        else:
            kindred.add(record)

    def flush(self) -> None:
        """Journal what is counted together so far; called every second and at the shutdown."""
        kinds, self._kinds = self._kinds, {}
        for kindred in kinds.values():
            if kindred.record is not None:
                self._journal.end(kindred.record)


class _Kindred:
    """The refusals of one kind in one second."""

    __slots__ = ("record", "room")

    def __init__(self, room: int) -> None:
        # How many more have a record each.
        self.room = room
        self.record: UsageRecord | None = None

    def add(self, record: UsageRecord) -> None:
        known = self.record
        if known is None:
            self.record = record
            return
        changes = {name: None for name in _SHARED if getattr(known, name) != getattr(record, name)}
        self.record = msgspec.structs.replace(
            known,
            requests=known.requests + 1,
            request_bytes=known.request_bytes + record.request_bytes,
            response_bytes=known.response_bytes + record.response_bytes,
            **changes,
        )


# What the record of several refusals holds only if it is the same for all of them.
_SHARED: Final = (
    "model", "client_ip", "client_request_id", "tenant", "project", "agent", "end_user", "channel", "soeid", "tags",
)  # fmt: skip
