"""A budget as the admin API and the console take it and show it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from msgspec import UNSET
from pydantic import BaseModel, BeforeValidator, Field, WithJsonSchema

from llm_gateway.core.config.limits import BudgetPeriod, BudgetScope
from llm_gateway.core.money import read_usd, usd_text
from llm_gateway.flow.config.rows.budgets import BudgetUpdate, StoredBudget
from llm_gateway.flow.ports.budgets import BalanceReader, BudgetBalance
from llm_gateway.flow.ports.catalog import StoreUnavailable
from llm_gateway.resources.shapes import READ_ONLY_TEXT, ModelName, Name, RowView, UpdateBody, WriteAnswer
from llm_gateway.resources.times import shown_time


def _nano_usd(amount: object) -> int:
    if isinstance(amount, bool) or not isinstance(amount, str | int | float):
        raise ValueError("must be an amount in USD, such as 12.5")  # noqa: TRY004 - pydantic's way to refuse
    return read_usd(amount)


_Amount = Annotated[
    int,
    BeforeValidator(_nano_usd),
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "number"}]}),
    Field(description="USD, as text or a number, with at most nine decimals."),
]
_Models = Annotated[
    list[ModelName],
    Field(min_length=1, max_length=1000, description="Models that count, globs too; null = all."),
]
_SCOPE = "What shares the amount: `all` requests, or those of one credential, tenant, project, agent or user."
_PERIOD = "A calendar day or month of `TIME_ZONE`; `total` never begins again."
_ENABLED = "false: the budget refuses nothing."
_SUBJECT = (
    "The name of the credential, tenant, project, agent or user; null for the scope all, and for agents and users "
    "if each of them has the whole amount."
)


class BudgetChange(UpdateBody):
    """PUT and PATCH: what is left out stays. Another scope, subject, period or models begin a new count."""

    # A default_factory only says "may be left out": its value is never used.
    name: Name = Field(default_factory=str)
    scope: BudgetScope = Field(default="all", description=_SCOPE)
    subject: Name | None = Field(None, description=_SUBJECT)
    amount_usd: _Amount = Field(default_factory=int)
    period: BudgetPeriod = Field(default="month", description=_PERIOD)
    models: _Models | None = None
    is_enabled: bool = Field(default_factory=bool, description=_ENABLED)
    counts_from: str | None = Field(None, description=READ_ONLY_TEXT)
    spent_usd: str | None = Field(None, description=READ_ONLY_TEXT)
    held_usd: str | None = Field(None, description=READ_ONLY_TEXT)
    remaining_usd: str | None = Field(None, description=READ_ONLY_TEXT)
    reset_at: str | None = Field(None, description=READ_ONLY_TEXT)

    def update(self) -> BudgetUpdate:
        given = self.given()
        if "amount_usd" in given:
            given["amount_nano_usd"] = given.pop("amount_usd")
        if given.get("models") is not None:
            given["models"] = tuple(given["models"])
        return BudgetUpdate(**given)


class NewBudget(BudgetChange):
    """POST."""

    name: Name
    scope: BudgetScope = Field(description=_SCOPE)
    amount_usd: _Amount
    period: BudgetPeriod = Field(description=_PERIOD)
    is_enabled: bool = Field(default=True, description=_ENABLED)


class BudgetView(RowView):
    """A budget as lists show it."""

    id: int
    name: str
    scope: str = Field(description=_SCOPE)
    subject: str | None = Field(description=_SUBJECT)
    amount_usd: str | None = Field(description="Decimal USD. null: what is stored cannot be read.")
    period: str = Field(description=_PERIOD)
    models: list[str] | None = Field(description="Models that count, globs too; null = all.")
    is_enabled: bool = Field(description=_ENABLED)
    counts_from: str | None = Field(
        description="When it was created or last reset. Requests that began earlier do not count."
    )
    created_at: str | None
    updated_at: str | None
    spent_usd: str | None = Field(
        default=None,
        description="Decimal USD: the cost of the usage rows of the current window. Absent, as are `held_usd`, "
        "`remaining_usd` and `reset_at`, if the database does not answer, or if each agent or user has the amount.",
    )
    held_usd: str | None = Field(
        default=None,
        description="Decimal USD that machines have borrowed: for requests in flight, for the next ones, and for "
        "costs whose usage rows are not stored yet.",
    )
    remaining_usd: str | None = Field(
        default=None,
        description="Decimal USD: the amount, less what is spent and held. At 0, requests still pass while a machine "
        "has something borrowed.",
    )
    reset_at: str | None = Field(default=None, description="When the window ends; null: never.")


class WrittenBudget(BudgetView, WriteAnswer):
    """A budget after a write."""


class BudgetPage(BaseModel):
    """One page of budgets, by id."""

    data: list[BudgetView]
    next_cursor: str | None


def shown(row: StoredBudget, warnings: list[str]) -> dict[str, Any]:
    """Return a stored budget as an admin sees it; warnings only if there are any."""
    amount = row.amount_nano_usd
    return {
        "id": row.id,
        "name": row.name,
        "scope": row.scope,
        "subject": row.subject,
        "amount_usd": None if amount is UNSET else usd_text(amount),
        "period": row.period,
        "models": None if row.models in (None, UNSET) else list(row.models),
        "is_enabled": row.is_enabled is True,
        "counts_from": shown_time(row.counts_from),
        "created_at": shown_time(row.created_at),
        "updated_at": shown_time(row.updated_at),
        **({"warnings": warnings} if warnings else {}),
    }


async def balances_of(reader: BalanceReader, rows: Sequence[StoredBudget]) -> Sequence[dict[str, Any]]:
    """Return what is spent and held of each budget, as it is enforced."""
    try:
        balances = await reader.current([row.id for row in rows])
    except StoreUnavailable:
        balances = {}
    return [_shown_balance(balances.get(row.id)) for row in rows]


def _shown_balance(balance: BudgetBalance | None) -> dict[str, Any]:
    if balance is None:
        return {}
    return {
        "spent_usd": usd_text(balance.spent),
        "held_usd": usd_text(balance.held),
        "remaining_usd": usd_text(balance.remaining),
        "reset_at": None if balance.reset_at is None else shown_time(balance.reset_at),
    }
