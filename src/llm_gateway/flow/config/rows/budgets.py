"""Stored budgets, and what an admin may set on them."""

from __future__ import annotations

from typing import ClassVar

import msgspec
from msgspec import UNSET, UnsetType

from llm_gateway.flow.config.rows.base import RowUpdate, StoredRow


class StoredBudget(StoredRow, frozen=True, kw_only=True):
    """A budget as it is stored."""

    resource: ClassVar[str] = "budget"

    name: str
    scope: str
    subject: str | None
    amount_nano_usd: int | UnsetType
    period: str
    models: tuple[str, ...] | UnsetType | None
    is_enabled: bool | UnsetType
    # Unix microseconds.
    counts_from: int | UnsetType

    @property
    def name_or_key(self) -> str:
        return self.name


class BudgetUpdate(RowUpdate[StoredBudget], frozen=True, kw_only=True):
    """What an admin may set on a budget; the editor sets `counts_from`."""

    stored: ClassVar[type[StoredRow]] = StoredBudget

    name: str | UnsetType = UNSET
    scope: str | UnsetType = UNSET
    subject: str | UnsetType | None = UNSET
    amount_nano_usd: int | UnsetType = UNSET
    period: str | UnsetType = UNSET
    # None = all models.
    models: tuple[str, ...] | UnsetType | None = UNSET
    is_enabled: bool | UnsetType = UNSET
    counts_from: int | UnsetType = UNSET


# What a budget covers, and when: its spend until now was counted by other rules once one of them changes.
_COVERAGE = ("scope", "subject", "models", "period")
COUNTS_ANEW = (
    "counts_from: moved to now; what was spent before was counted by the old scope, subject, models or period"
)


def counting_from(update: BudgetUpdate, before: StoredBudget | None, now_us: int) -> BudgetUpdate:
    """Let a budget that is new, or that is to cover other requests, count from now on.

    A budget on existing spend would lock clients out at once.
    """
    changes = before is None or any(
        getattr(update, name) not in (UNSET, getattr(before, name)) for name in _COVERAGE
    )
    return msgspec.structs.replace(update, counts_from=now_us) if changes else update
