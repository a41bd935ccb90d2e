"""Adds up the usage of any range exactly: from rollups, and at the range's borders from the rows."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

import msgspec
import sqlalchemy as sa

from llm_gateway.core.calendar import Period, periods
from llm_gateway.core.ledger.histogram import ENTRY_BYTES, add_encoded
from llm_gateway.core.ledger.rollup_spans import QUARTER, SPAN_MINUTES, RollupRange, bucket_start, covering
from llm_gateway.core.ledger.totals import COUNTS, UsageKey, UsageTotals, key_of
from llm_gateway.flow.ports.usage import (
    InexactRange,
    SummaryDimension,
    SummaryGroup,
    SummaryQuery,
    SummaryTooLarge,
    UsageSummary,
)
from llm_gateway.infra.database import tables
from llm_gateway.infra.database.rollup_tables import usage_rollup_state, usage_rollups
from llm_gateway.infra.database.usage.rollup_rows import records_between
from llm_gateway.infra.sqlalchemy_asyncio import AsyncConnection

MOST_GROUPS: Final = 10_000
# Rollups that are added up before other work gets its turn.
_AT_ONCE: Final = 500
_BYTES_AT_ONCE: Final = 16_000 * ENTRY_BYTES


class _Range(NamedTuple):
    """A part of one period."""

    period: Period | None
    rollups: RollupRange


class _Part(NamedTuple):
    period: Period | None
    values: tuple[str | None, ...]
    counts: Sequence[int]
    latency: bytes
    first_token: bytes


async def summarize(connection: AsyncConnection, query: SummaryQuery) -> UsageSummary:
    """Return the summary, read in the transaction of `connection`."""
    missing_before = await connection.scalar(sa.select(usage_rollup_state.c.missing_before))
    is_complete = missing_before is None or (query.since is not None and query.since >= missing_before)
    known = await _known(connection)
    if known is None:
        return UsageSummary([], UsageTotals(), is_complete)
    start = known.start if query.since is None else max(query.since, known.start)
    end = known.end if query.until is None else min(query.until, known.end)
    groups = _Groups()
    ranges = _ranges(query, start, end)
    sums = _postgres_parts if connection.dialect.name == "postgresql" else _sqlite_parts
    async for part in sums(connection, query, [one for one in ranges if one.rollups.minutes]):
        await groups.add(part)
    for one in ranges:
        if not one.rollups.minutes:
            await _add_rows(connection, query, one, groups)
    return groups.summary(is_complete)


class _Groups:
    def __init__(self) -> None:
        self._totals: dict[tuple[Period | None, tuple[str | None, ...]], UsageTotals] = {}
        # Bytes of histograms that were read since other work had its turn.
        self._read = 0

    async def add(self, part: _Part) -> None:
        totals = self.find(part.period, part.values)
        totals.add_counts(part.counts)
        for histogram, encoded in ((totals.latency, part.latency), (totals.first_token, part.first_token)):
            for start in range(0, len(encoded), _BYTES_AT_ONCE):
                piece = encoded[start : start + _BYTES_AT_ONCE]
                add_encoded(histogram, piece)
                self._read += len(piece)
                if self._read >= _BYTES_AT_ONCE:
                    self._read = 0
                    await asyncio.sleep(0)

    def find(self, period: Period | None, values: tuple[str | None, ...]) -> UsageTotals:
        totals = self._totals.get((period, values))
        if totals is None:
            if len(self._totals) >= MOST_GROUPS:
                raise SummaryTooLarge
            totals = self._totals[period, values] = UsageTotals()
        return totals

    def summary(self, is_complete: bool) -> UsageSummary:
        total = UsageTotals()
        for totals in self._totals.values():
            total.merge(totals)
        ordered = sorted(self._totals, key=lambda key: (key[0] or (), [value or "" for value in key[1]]))
        groups = [SummaryGroup(*key, self._totals[key]) for key in ordered if any(self._totals[key].counts)]
        return UsageSummary(groups, total, is_complete)


async def _known(connection: AsyncConnection) -> Period | None:
    """Return the time that has rollups."""
    bucket, minutes = usage_rollups.c.bucket, SPAN_MINUTES[0]
    first, last = (
        await connection.execute(
            sa.select(sa.func.min(bucket), sa.func.max(bucket)).where(usage_rollups.c.minutes == minutes)
        )
    ).one()
    return None if first is None else Period(first, last + minutes * 60_000_000)


def _ranges(query: SummaryQuery, start: int, end: int) -> list[_Range]:
    """Return what to add up, in order. Every part belongs to one period."""
    if query.unit is None:
        return [_Range(None, one) for one in covering(start, end)]
    ranges = []
    for number, period in enumerate(periods(query.unit, start, end, query.zone)):
        if number >= MOST_GROUPS:
            raise SummaryTooLarge
        inner = covering(max(period.start, start), min(period.end, end))
        ranges += [_Range(period, one) for one in inner]
    return ranges


async def _postgres_parts(
    connection: AsyncConnection, query: SummaryQuery, ranges: Sequence[_Range]
) -> AsyncIterator[_Part]:
    """Have the server add up each range; encoded histograms that are joined are their sum."""
    if not ranges:
        return
    columns = usage_rollups.c
    histograms: list[sa.ColumnElement[Any]] = [
        sa.func.string_agg(columns[name], sa.literal(b"")) if query.has_percentiles else sa.literal(b"")
        for name in ("latency", "first_token")
    ]
    wanted = (
        sa.func.unnest(
            *(sa.bindparam(name, type_=sa.ARRAY(sa.BigInteger)) for name in ("ns", "spans", "starts", "ends"))
        )
        .table_valued(*(sa.column(name, sa.BigInteger) for name in ("n", "minutes", "since", "until")))
        .render_derived("wanted")
    )

    def moment(unix_us: sa.ColumnElement[int]) -> sa.ColumnElement[Any]:
        epoch: sa.ColumnElement[Any] = sa.literal_column("'epoch'::timestamptz")
        return epoch + unix_us * sa.literal_column("interval '1 microsecond'")

    # For each range on its own, so that the server always looks it up by the primary key.
    added = (
        sa.select(
            *(columns[name] for name in query.group_by),
            *(sa.func.sum(columns[name]).label(name) for name in COUNTS),
            histograms[0].label("latency"),
            histograms[1].label("first_token"),
        )
        .where(
            columns.minutes == wanted.c.minutes,
            columns.bucket >= moment(wanted.c.since),
            columns.bucket < moment(wanted.c.until),
            *_conditions(query.filters),
        )
        .group_by(*(columns[name] for name in query.group_by))
        .having(sa.func.count() > 0)
        .lateral("added")
    )
    names = (*query.group_by, *COUNTS, "latency", "first_token")
    statement = sa.select(wanted.c.n, *(added.c[name] for name in names)).select_from(
        wanted.join(added, sa.true())
    )
    sent = {
        "ns": list(range(len(ranges))),
        "spans": [one.rollups.minutes for one in ranges],
        "starts": [one.rollups.start for one in ranges],
        "ends": [one.rollups.end for one in ranges],
    }
    async for rows in _rows(connection, statement, sent):
        for row in rows:
            yield _part(ranges[row[0]].period, row[1:], len(query.group_by))


async def _sqlite_parts(
    connection: AsyncConnection, query: SummaryQuery, ranges: Sequence[_Range]
) -> AsyncIterator[_Part]:
    """Read the rollups themselves: SQLite's sums overflow with an error."""
    if not ranges:
        return
    columns = usage_rollups.c
    histograms = [
        columns[name] if query.has_percentiles else sa.literal(b"") for name in ("latency", "first_token")
    ]
    wanted = sa.func.json_each(sa.bindparam("ranges")).table_valued("key", "value", name="wanted")
    minutes, start, end = (
        sa.cast(sa.func.json_extract(wanted.c.value, f"$[{place}]"), sa.BigInteger) for place in range(3)
    )
    statement = (
        sa.select(wanted.c.key, *(columns[name] for name in (*query.group_by, *COUNTS)), *histograms)
        # SQLite looks up each range by the primary key, rather than each rollup among the ranges.
        .select_from(wanted, usage_rollups)
        .where(
            columns.minutes == minutes,
            sa.type_coerce(columns.bucket, sa.BigInteger) >= start,
            sa.type_coerce(columns.bucket, sa.BigInteger) < end,
            *_conditions(query.filters),
        )
    )
    sent = {"ranges": msgspec.json.encode([one.rollups for one in ranges]).decode()}
    keys = len(query.group_by)
    async for rows in _rows(connection, statement, sent):
        # Many rollups of few groups: adding them up together takes a third of the time.
        alike = defaultdict(list)
        for row in rows:
            alike[ranges[row[0]].period, row[1 : keys + 1]].append(row[keys + 1 :])
        for (period, values), members in alike.items():
            *counts, latency, first_token = zip(*members, strict=True)
            yield _part(
                period,
                (*values, *map(sum, counts), b"".join(latency), b"".join(first_token)),
                keys,
            )


async def _rows(
    connection: AsyncConnection, statement: sa.Select[Any], parameters: dict[str, Any]
) -> AsyncIterator[Sequence[Sequence[Any]]]:
    async with connection.stream(statement, parameters) as rows:
        async for part in rows.partitions(_AT_ONCE):
            yield part
            await asyncio.sleep(0)


def _part(period: Period | None, row: Sequence[Any], keys: int) -> _Part:
    *counts, latency, first_token = row[keys:]
    return _Part(
        period, tuple(text or None for text in row[:keys]), [*map(int, counts)], latency, first_token
    )


def _conditions(filters: Mapping[SummaryDimension, str]) -> list[sa.ColumnElement[bool]]:
    return [usage_rollups.c[name] == value for name, value in filters.items()]


async def _add_rows(connection: AsyncConnection, query: SummaryQuery, one: _Range, groups: _Groups) -> None:
    """Add the rows between a border of the range and the next rollup."""
    places = [UsageKey._fields.index(name) for name in query.group_by]
    wanted = {UsageKey._fields.index(name): value for name, value in query.filters.items()}
    _, start, end = one.rollups
    await _check_rows(connection, bucket_start(start, SPAN_MINUTES[-1]))
    async for record in records_between(connection, start, end):
        key = key_of(record)
        if all((key[place] or "") == value for place, value in wanted.items()):
            groups.find(one.period, tuple(key[place] for place in places)).add(record)


async def _check_rows(connection: AsyncConnection, quarter: int) -> None:
    """Raise InexactRange if rows of this quarter of an hour were deleted: its rollups know of more requests."""
    rollups, usage = usage_rollups.c, tables.usage.c
    added = await connection.scalar(
        sa.select(sa.func.coalesce(sa.func.sum(rollups.requests), 0)).where(
            rollups.minutes == SPAN_MINUTES[-1], rollups.bucket == quarter
        )
    )
    stored = await connection.scalar(
        sa.select(sa.func.coalesce(sa.func.sum(usage.requests), 0)).where(
            usage.created_at >= quarter, usage.created_at < quarter + QUARTER
        )
    )
    if (stored or 0) < (added or 0):
        raise InexactRange(quarter)
