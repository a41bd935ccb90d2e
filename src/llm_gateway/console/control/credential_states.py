"""Whether the keys of credentials are accepted now, and why not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from llm_gateway.console.services import ConsoleServices
from llm_gateway.core.config.accounts import Principal
from llm_gateway.flow.config.rows.credentials import StoredCredential


def principals_of(services: ConsoleServices, rows: Sequence[StoredCredential]) -> Mapping[int, Principal]:
    """Return the accounts that requests with the keys of `rows` have, by the rows' ids."""
    snapshot = services.snapshots.current
    if snapshot is None:
        return {}
    wanted = {row.id for row in rows}
    found = (
        (one.id, snapshot.account(one.key_hash)) for one in snapshot.catalog.credentials if one.id in wanted
    )
    return {row_id: account for row_id, account in found if account is not None}


def state_of(row: StoredCredential, account: Principal | None, now: int) -> Mapping[str, Any]:
    """Return what is shown of a credential's state: `badges` as (text, style), and until when an old key works."""
    badges = [_own_state(row, now)]
    if badges[0][1] == "good" and account is not None and account.shut_by is not None:
        badges.append((f"{account.shut_by.capitalize()} disabled", "bad"))
    previous = row.previous_key_expires_at
    works = isinstance(previous, int) and previous > now
    return {
        "badges": badges,
        "is_revoked": row.revoked_at is not None,
        "previous_key_until": previous if works else None,
    }


def _own_state(row: StoredCredential, now: int) -> tuple[str, str]:
    if row.revoked_at is not None:
        return "Revoked", "bad"
    if row.is_enabled is not True:
        return "Disabled", "warn"
    # A time that cannot be read counts as past.
    if row.expires_at is not None and not (isinstance(row.expires_at, int) and row.expires_at > now):
        return "Expired", "bad"
    return "Enabled", "good"
