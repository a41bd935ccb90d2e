"""Adds up the usage rows that a filter means, where rollups do not know enough: by agent, say, or by channel."""

from __future__ import annotations

import math
from typing import Any, Final

import sqlalchemy as sa

from llm_gateway.flow.ports.usage import UsageFilter, UseTotals
from llm_gateway.infra.database import tables
from llm_gateway.infra.database.usage.filtering import conditions
from llm_gateway.infra.sqlalchemy_asyncio import AsyncConnection

# Numbers are added up in two halves of this base, since SQLite fails at sums beyond 64 bits.
_BASE: Final = 2**32
_TOKENS: Final = ("prompt_tokens", "completion_tokens", "total_tokens")
# Requests of which no reply was awaited to its end say nothing of how long replies take.
_UNTIMED: Final = ("rejected", "interrupted")


async def add_up(connection: AsyncConnection, wanted: UsageFilter) -> UseTotals:
    """Return what the rows add up to, in one statement."""
    usage = tables.usage.c
    has_tokens = sa.or_(usage.prompt_tokens > 0, usage.completion_tokens > 0)
    is_unpriced = sa.and_(usage.cost_nano_usd.is_(None), sa.or_(has_tokens, usage.unpriced.is_not(None)))
    is_timed = usage.outcome.not_in(_UNTIMED)
    sums: list[sa.ColumnElement[Any]] = [
        usage.requests,
        _where(usage.outcome == "ok", usage.requests),
        *(usage[name] for name in _TOKENS),
        usage.cost_nano_usd,
        _where(is_unpriced, usage.requests),
        _where(is_timed, usage.requests),
    ]
    statement = sa.select(
        *(half for number in sums for half in _halves(number)),
        sa.func.sum(_where(is_timed, usage.latency_ms * usage.requests)),
    ).where(*conditions(wanted))
    *halves, waited = (await connection.execute(statement)).one()
    numbers = [
        int(high or 0) * _BASE + int(low or 0) for high, low in zip(halves[::2], halves[1::2], strict=True)
    ]
    requests, ok, prompt, completion, total, cost, unpriced, timed = numbers
    mean = float(waited or 0.0) / timed if timed else math.nan
    return UseTotals(
        requests=requests,
        ok=ok,
        prompt_tokens=prompt,
        completion_tokens=completion,
        total_tokens=total,
        cost_nano_usd=cost,
        unpriced=unpriced,
        mean_latency_ms=mean if math.isfinite(mean) else None,
    )


def _where(condition: sa.ColumnElement[bool], number: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
    return sa.case((condition, number))


def _halves(number: sa.ColumnElement[Any]) -> tuple[sa.ColumnElement[Any], sa.ColumnElement[Any]]:
    """Return two sums, of which the first counts `_BASE` times; division and remainder both round towards zero."""
    base: sa.ColumnElement[Any] = sa.literal_column(str(_BASE))
    whole = sa.cast(number, sa.BigInteger)
    return sa.func.sum(whole.op("/")(base)), sa.func.sum(whole.op("%")(base))
