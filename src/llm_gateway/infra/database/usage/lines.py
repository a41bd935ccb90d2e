"""Reads lines of the journal, and makes what they say fit for the database."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import cache
from typing import Annotated, Any, ClassVar, NamedTuple, TypeVar

import msgspec

from llm_gateway.core.ledger.records import AttemptEnded, Breakdown, UsageRecord
from llm_gateway.core.ledger.telemetry import TelemetryEvent
from llm_gateway.flow.ports.ledger import RecordsRejected
from llm_gateway.infra.database.facts.fitting import (
    LONGEST_MS,
    TEXT_LIMIT,
    UNREADABLE,
    FitText,
    Line,
    LineReader,
)

# Most tags of a row, and most units of a breakdown.
ENTRY_LIMIT = 64
# How msgspec starts the lines of attempts and of events; all others end a request.
_ATTEMPT, _EVENT = b'{"t":"attempt"', b'{"t":"event"'
# Lines that are read before other work of the process gets its turn.
_AT_ONCE = 250

_Usage = TypeVar("_Usage", bound=UsageRecord | AttemptEnded)


class Batch(NamedTuple):
    """One record per request, one fact per attempt, one of each event; all sorted by their ids."""

    records: list[Line[UsageRecord]]
    attempts: list[Line[AttemptEnded]]
    events: list[Line[TelemetryEvent]]


async def read_lines(lines: Sequence[bytes]) -> Batch:
    """Return what the lines say, fit for the database; raise RecordsRejected."""
    records: list[Line[UsageRecord]] = []
    attempts: list[Line[AttemptEnded]] = []
    events: list[Line[TelemetryEvent]] = []
    try:
        for start in range(0, len(lines), _AT_ONCE):
            part = lines[start : start + _AT_ONCE]
            if others := [line for line in part if line.startswith((_ATTEMPT, _EVENT))]:
                attempts += _attempt_reader().read([line for line in others if line.startswith(_ATTEMPT)])
                events += _event_reader().read([line for line in others if line.startswith(_EVENT)])
                part = [line for line in part if not line.startswith((_ATTEMPT, _EVENT))]
            records += _record_reader().read(part)
            await asyncio.sleep(0)
    except UNREADABLE as error:
        raise RecordsRejected(f"A line cannot be read ({error})") from None
    return Batch(_one_per_request(records), _one_per_attempt(attempts), _one_per_event(events))


_Entries = msgspec.Meta(max_length=ENTRY_LIMIT)


class _UsageReader(LineReader[_Usage]):
    fit_types: ClassVar = {
        "cost_breakdown": Annotated[dict[FitText, tuple[int | float, int]], _Entries] | None,
        "quantities": Annotated[dict[str, int | float], _Entries] | None,
        "tags": Annotated[dict[FitText, FitText], _Entries] | None,
    }

    def is_fit(self, fact: _Usage) -> bool:
        if not super().is_fit(fact):
            return False
        if fact.cost_breakdown is not None and _fitted_breakdown(fact.cost_breakdown) is None:
            return False
        if fact.quantities is not None and len(fact.quantities) > ENTRY_LIMIT:
            return False
        tags = getattr(fact, "tags", None)
        return tags is None or _fitted_tags(tags) == tags

    def fitted(self, fact: _Usage) -> dict[str, Any]:
        changed = super().fitted(fact)
        if fact.cost_breakdown is not None:
            changed["cost_breakdown"] = _fitted_breakdown(fact.cost_breakdown)
        if fact.quantities is not None and len(fact.quantities) > ENTRY_LIMIT:
            changed["quantities"] = None
        if (tags := getattr(fact, "tags", None)) is not None:
            changed["tags"] = _fitted_tags(tags)
        return changed


class _EventReader(LineReader[TelemetryEvent]):
    """A client may report any latency; one that is no time at all is left out."""

    fit_types: ClassVar = {"latency_ms": Annotated[float, msgspec.Meta(gt=-LONGEST_MS, lt=LONGEST_MS)] | None}

    def is_fit(self, fact: TelemetryEvent) -> bool:
        return super().is_fit(fact) and (fact.latency_ms is None or abs(fact.latency_ms) < LONGEST_MS)

    def fitted(self, fact: TelemetryEvent) -> dict[str, Any]:
        changed = super().fitted(fact)
        if fact.latency_ms is not None and abs(fact.latency_ms) >= LONGEST_MS:
            changed["latency_ms"] = None
        return changed


def _fitted_tags(tags: dict[str, str]) -> dict[str, str]:
    return {name[:TEXT_LIMIT]: value[:TEXT_LIMIT] for name, value in [*tags.items()][:ENTRY_LIMIT]}


def _fitted_breakdown(breakdown: Breakdown) -> Breakdown | None:
    """Return the breakdown, or None if it is too large: a shortened one would not add up to the cost."""
    is_fit = len(breakdown) <= ENTRY_LIMIT and all(len(unit) <= TEXT_LIMIT for unit in breakdown)
    return breakdown if is_fit else None


def replaces(record: UsageRecord, stored: UsageRecord) -> bool:
    """Return whether `record` takes the place of the `stored` one of its request.

    A stored row stays, unless it is an interruption: the true end of the request replaces it, and so does a later
    attempt that the journal knew of.
    """
    return stored.outcome == "interrupted" and (
        record.outcome != "interrupted" or record.attempts > stored.attempts
    )


def _one_per_request(lines: Sequence[Line[UsageRecord]]) -> list[Line[UsageRecord]]:
    chosen = {line.fact.request_id: line for line in lines}
    if len(chosen) == len(lines):
        return [chosen[key] for key in sorted(chosen)]
    chosen.clear()
    for line in lines:
        known = chosen.setdefault(line.fact.request_id, line)
        if known is not line and replaces(line.fact, known.fact):
            chosen[line.fact.request_id] = line
    return [chosen[key] for key in sorted(chosen)]


def _one_per_attempt(lines: Sequence[Line[AttemptEnded]]) -> list[Line[AttemptEnded]]:
    """Keep the first fact of each attempt, unless it is an interruption."""
    chosen: dict[tuple[str, int], Line[AttemptEnded]] = {}
    for line in lines:
        key = line.fact.request_id, line.fact.attempt
        known = chosen.setdefault(key, line)
        if known.fact.outcome == "interrupted" and line.fact.outcome != "interrupted":
            chosen[key] = line
    return [chosen[key] for key in sorted(chosen)]


def _one_per_event(lines: Sequence[Line[TelemetryEvent]]) -> list[Line[TelemetryEvent]]:
    chosen: dict[str, Line[TelemetryEvent]] = {}
    for line in lines:
        chosen.setdefault(line.fact.event_id, line)
    return [chosen[key] for key in sorted(chosen)]


# Made for the first batch: together they take 3 ms, which no start waits for.


@cache
def _record_reader() -> _UsageReader[UsageRecord]:
    return _UsageReader(UsageRecord)


@cache
def _attempt_reader() -> _UsageReader[AttemptEnded]:
    return _UsageReader(AttemptEnded)


@cache
def _event_reader() -> _EventReader:
    return _EventReader(TelemetryEvent)
