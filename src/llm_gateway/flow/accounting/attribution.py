"""Writes on whose behalf a request was sent into its usage record."""

from __future__ import annotations

import msgspec

from llm_gateway.core.ledger.records import UsageRecord
from llm_gateway.flow.ports.dialect import Attribution


def on_behalf_of(record: UsageRecord, stated: Attribution) -> UsageRecord:
    """Return the record with what the request says of itself; what is known of its credential counts first."""
    return msgspec.structs.replace(
        record,
        tenant=record.tenant or stated.tenant,
        project=record.project or stated.project,
        agent=stated.agent,
        end_user=stated.user,
        channel=stated.channel,
        soeid=stated.soeid,
        tags=stated.tags,
    )
