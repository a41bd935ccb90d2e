"""Reads what each attempt cost, page by page: a provider bills attempts, not requests."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

import msgspec

from llm_gateway.core.ledger.records import AttemptEnded, UsageRecord, last_attempt
from llm_gateway.flow.ports.usage import UsageFilter, UsagePlace, UsageReader

_PAGE = 1000


async def usage_rows(
    usage: UsageReader, wanted: UsageFilter, page: int = _PAGE
) -> AsyncIterator[UsageRecord]:
    """Yield all rows that match, newest first; holds `page` of them at a time. May raise StoreUnavailable."""
    after: UsagePlace | None = None
    while True:
        records = await usage.list(wanted, after, page, "created_at")
        for record in records:
            yield record
        if len(records) < page:
            return
        after = UsagePlace(records[-1].created_at, records[-1].request_id)


async def charged_attempts(
    usage: UsageReader, wanted: UsageFilter, page: int = _PAGE
) -> AsyncIterator[tuple[UsageRecord, AttemptEnded]]:
    """Yield the attempts that used something, each with the row of its request, newest request first.

    `wanted.provider` is that of the attempt. Rows from before there were costs say nothing of one, but have tokens.
    """
    async for record, attempts in attempted_rows(usage, wanted, page):
        for attempt in attempts:
            if (
                attempt.cost_nano_usd is not None or attempt.cost_source is not None or attempt.total_tokens
            ) and wanted.provider in {None, attempt.provider}:
                yield record, attempt


async def attempted_rows(
    usage: UsageReader, wanted: UsageFilter, page: int = _PAGE
) -> AsyncIterator[tuple[UsageRecord, Sequence[AttemptEnded]]]:
    """Yield the rows of requests that had attempts, with all of these, newest first.

    Of a `wanted.provider`, these are the requests that it was asked to serve: a row has the last provider alone.
    """
    any_provider = msgspec.structs.replace(wanted, provider=None)
    async for record in usage_rows(usage, any_provider, page):
        last = last_attempt(record)
        if last is None:
            continue
        # The rows of several attempts are read from their table; nearly all requests have one.
        attempts = [last] if record.attempts == 1 else await usage.attempts(record.request_id)
        if wanted.provider is None or any(one.provider == wanted.provider for one in attempts):
            yield record, attempts
