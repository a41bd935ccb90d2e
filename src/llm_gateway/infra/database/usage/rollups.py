"""Adds usage up by spans of time, in the transaction that stores the rows."""

from __future__ import annotations

import asyncio
import itertools
import operator
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from llm_gateway.core.ledger.histogram import encode
from llm_gateway.core.ledger.records import UsageRecord
from llm_gateway.core.ledger.rollup_spans import QUARTER, SPAN_MINUTES, bucket_start
from llm_gateway.core.ledger.totals import COUNTS, UsageKey, UsageTotals, key_of
from llm_gateway.infra.database.postings import StoredChange, UsagePosting
from llm_gateway.infra.sqlalchemy_asyncio import AsyncConnection

# PostgreSQL's advisory lock that postings share, and that whoever adds up anew has alone; no other program uses it.
ROLLUP_LOCK = 7_526_181_118_341_922
# Most rollups that one statement carries.
_SLICE = 500
# Records that are added up before other work of the process gets its turn.
_AT_ONCE = 350
_encode = msgspec.json.Encoder().encode
# What the key of a record depends on, unless it was refused, and its outcome.
_what_counts = operator.attrgetter("credential", "tenant", "project", "provider", "model", "outcome")


class RollupKey(NamedTuple):
    """The key of a rollup as it is stored: a text that is missing is "". `bucket` is in Unix microseconds."""

    minutes: int
    bucket: int
    credential: str
    tenant: str
    project: str
    provider: str
    model: str


class RollupPosting(UsagePosting):
    """Keeps `usage_rollups` what the usage rows add up to."""

    async def post(self, connection: AsyncConnection, changes: Sequence[StoredChange]) -> None:
        if connection.dialect.name == "postgresql":
            await connection.exec_driver_sql("SELECT pg_advisory_xact_lock_shared($1)", (ROLLUP_LOCK,))
        sums = RollupSums()
        for start in range(0, len(changes), _AT_ONCE):
            part = changes[start : start + _AT_ONCE]
            sums.add_all([change.record for change in part])
            for before in [change.before for change in part if change.before is not None]:
                sums.add(before, -1)
            await asyncio.sleep(0)
        await add_totals(connection, sums.by_key())


class RollupSums:
    """Adds records up by the smallest span."""

    def __init__(self) -> None:
        self._quarters: dict[tuple[int, UsageKey], UsageTotals] = {}
        # The same totals by what records say, which is several times as fast to look up as their keys are to make.
        self._by_values: dict[tuple[Any, ...], UsageTotals] = {}

    def add(self, record: UsageRecord, sign: int = 1) -> None:
        """Add a record; with `sign` -1, take it away."""
        created_at = record.created_at
        values = (
            created_at - created_at % QUARTER,
            record.credential,
            record.tenant,
            record.project,
            record.provider,
            record.model,
            # The key depends on these for a refused request only.
            record.status_code if record.outcome == "rejected" else None,
        )
        totals = self._by_values.get(values)
        if totals is None:
            place = values[0], key_of(record)
            totals = self._by_values[values] = self._quarters.setdefault(place, UsageTotals())
        totals.add(record, sign)

    def add_all(self, records: Iterable[UsageRecord]) -> None:
        """Add records, those that are alike together: most of a batch are."""
        quarters: dict[int, dict[tuple[Any, ...], list[UsageRecord]]] = {}
        start = end = 0
        alike: dict[tuple[Any, ...], list[UsageRecord]] = {}
        for record in records:
            if not start <= record.created_at < end:
                start = bucket_start(record.created_at, SPAN_MINUTES[-1])
                end = start + QUARTER
                alike = quarters.setdefault(start, {})
            values = _what_counts(record)
            known = alike.get(values)
            if known is None:
                alike[values] = [record]
            else:
                known.append(record)
        for quarter, groups in quarters.items():
            for group in groups.values():
                if group[0].outcome == "rejected":
                    for record in group:
                        self.add(record)
                    continue
                self._quarters.setdefault((quarter, key_of(group[0])), UsageTotals()).add_alike(group)

    def take_away(self, quarter: int, key: UsageKey, stored: Sequence[Any]) -> None:
        """Take away a stored rollup: its numbers in the order of COUNTS, and its two encoded histograms."""
        *counts, latency, first_token = stored
        totals = UsageTotals()
        totals.merge_stored(counts, latency, first_token)
        self._quarters.setdefault((quarter, key), UsageTotals()).merge(totals, -1)

    def by_key(self) -> dict[RollupKey, UsageTotals]:
        """Return the sums for each span, sorted by their keys."""
        sums: dict[RollupKey, UsageTotals] = {}
        for (quarter, key), totals in self._quarters.items():
            texts = [text or "" for text in key]
            for minutes in SPAN_MINUTES:
                place = RollupKey(minutes, bucket_start(quarter, minutes), *texts)
                known = sums.get(place)
                if known is None:
                    sums[place] = totals.copy()
                else:
                    known.merge(totals)
        return {key: sums[key] for key in sorted(sums)}


async def add_totals(connection: AsyncConnection, totals: Mapping[RollupKey, UsageTotals]) -> None:
    """Add `totals`, sorted by their keys, to the stored rollups; the rows stay locked until the transaction ends."""
    store = _add_postgres if connection.dialect.name == "postgresql" else _add_sqlite
    items = iter(totals.items())
    while part := dict(itertools.islice(items, _SLICE)):
        await store(connection, part)


_KEY = RollupKey._fields
_BUCKET = "'epoch'::timestamptz + sent.bucket * interval '1 microsecond'"
_SAME_KEY = " AND ".join(
    f"stored.{name} = " + (_BUCKET if name == "bucket" else f"sent.{name}") for name in _KEY
)
_VALUES = (*COUNTS, "latency", "first_token")
_TYPES = {"minutes": "int", "bucket": "bigint"} | dict.fromkeys(UsageKey._fields, "text")
_TYPES |= dict.fromkeys(COUNTS, "bigint") | {"latency": "bytea", "first_token": "bytea"}


def _sent(names: Sequence[str]) -> str:
    arrays = ", ".join(f"${number}::{_TYPES[name]}[]" for number, name in enumerate(names, 1))
    return f"unnest({arrays}) AS sent ({', '.join(names)})"


# Every rollup exists before any is locked, and both are done in the order of the keys: so no two transactions wait
# for each other.
_POSTGRES_CREATE = f"""
INSERT INTO usage_rollups ({", ".join((*_KEY, *_VALUES))})
SELECT {", ".join(_BUCKET if name == "bucket" else f"sent.{name}" for name in _KEY)}, {"0, " * len(COUNTS)}'', ''
FROM {_sent(_KEY)} ON CONFLICT DO NOTHING"""  # noqa: S608 - our own names
_POSTGRES_READ = f"""
SELECT {", ".join(f"sent.{name}" for name in _KEY)}, {", ".join(f"stored.{name}" for name in _VALUES)}
FROM {_sent(_KEY)} JOIN usage_rollups AS stored ON {_SAME_KEY}
ORDER BY {", ".join(f"stored.{name}" for name in _KEY)} FOR UPDATE OF stored"""  # noqa: S608 - our own names
_POSTGRES_WRITE = f"""
UPDATE usage_rollups AS stored SET {", ".join(f"{name} = sent.{name}" for name in _VALUES)}
FROM {_sent((*_KEY, *_VALUES))} WHERE {_SAME_KEY}"""  # noqa: S608 - our own names

_SENT_KEY = " AND ".join(
    f"stored.{name} = json_extract(sent.value, '$[{at}]')" for at, name in enumerate(_KEY)
)
_SQLITE_READ = f"""
SELECT {", ".join(f"stored.{name}" for name in (*_KEY, *_VALUES))}
FROM json_each(?) AS sent JOIN usage_rollups AS stored ON {_SENT_KEY}"""  # noqa: S608 - our own names
_SQLITE_WRITE = f"""
INSERT INTO usage_rollups ({", ".join((*_KEY, *_VALUES))}) VALUES ({", ".join("?" * len((*_KEY, *_VALUES)))})
ON CONFLICT DO UPDATE SET {", ".join(f"{name} = excluded.{name}" for name in _VALUES)}"""  # noqa: S608 - our own names


async def _add_postgres(connection: AsyncConnection, totals: Mapping[RollupKey, UsageTotals]) -> None:
    keys = _columns(totals)
    await connection.exec_driver_sql(_POSTGRES_CREATE, keys)
    _merge(totals, (await connection.exec_driver_sql(_POSTGRES_READ, keys)).all())
    await connection.exec_driver_sql(_POSTGRES_WRITE, _columns(_rows(totals)))


async def _add_sqlite(connection: AsyncConnection, totals: Mapping[RollupKey, UsageTotals]) -> None:
    keys = _encode(list(totals)).decode()
    _merge(totals, (await connection.exec_driver_sql(_SQLITE_READ, (keys,))).all())
    await connection.exec_driver_sql(_SQLITE_WRITE, _rows(totals))


def _merge(totals: Mapping[RollupKey, UsageTotals], stored: Iterable[Sequence[Any]]) -> None:
    for row in stored:
        *numbers, latency, first_token = row[len(_KEY) :]
        totals[RollupKey(*row[: len(_KEY)])].merge_stored(numbers, latency, first_token)


def _rows(totals: Mapping[RollupKey, UsageTotals]) -> list[tuple[Any, ...]]:
    return [
        (*key, *one.storable_counts(), encode(one.latency), encode(one.first_token))
        for key, one in totals.items()
    ]


def _columns(rows: Iterable[Sequence[Any]]) -> tuple[list[Any], ...]:
    return tuple(map(list, zip(*rows, strict=True)))
