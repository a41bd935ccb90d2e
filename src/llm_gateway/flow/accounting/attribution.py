"""On whose behalf a request was sent: for its usage record, and for budgets."""

from __future__ import annotations

from datetime import tzinfo

import msgspec

from llm_gateway.core.config.accounts import CLAIMING_PROJECTS
from llm_gateway.core.config.budgets import Covered, Spender, covers_model
from llm_gateway.core.config.snapshot import Principal
from llm_gateway.core.ledger.records import UsageRecord
from llm_gateway.flow.ports.dialect import Attribution
from llm_gateway.flow.ports.limits import Demand


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


def covering(account: Principal, demand: Demand, zone: tzinfo) -> list[Covered]:
    """Return the windows that a request counts in, as its usage row will."""
    spender = spender_of(account, demand.attribution)
    model, at = demand.request.model, demand.created_at
    return [
        covered
        for one in account.budgets
        if covers_model(one, model) and (covered := one.covered(spender, at, zone)) is not None
    ]


def spender_of(account: Principal, attribution: Attribution) -> Spender:
    """Return on whose behalf a request is sent; the credential's own tenant and project come first."""
    name = account.credential.name
    if not attribution.is_trusted:
        return Spender(name, account.tenant, account.project)
    return Spender(
        name,
        account.tenant or attribution.tenant,
        account.project or (None if name == CLAIMING_PROJECTS else attribution.project),
        attribution.agent,
        attribution.user,
    )
