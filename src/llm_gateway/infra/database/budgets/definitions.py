"""The budgets as the database has them, and which of them are counted."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import tzinfo
from typing import Final, NamedTuple, get_args

import msgspec
import sqlalchemy as sa

from llm_gateway.core.config.accounts import CLAIMING_PROJECTS, SURFACE_ACCOUNTS
from llm_gateway.core.config.budgets import BudgetIndex, Spender
from llm_gateway.core.config.limits import Budget, BudgetPeriod, BudgetScope
from llm_gateway.core.ledger.records import UsageRecord
from llm_gateway.infra.database import tables
from llm_gateway.infra.database.budget_tables import counted_budgets
from llm_gateway.infra.database.catalog import credentials
from llm_gateway.infra.database.catalog.accounts import BUDGETS, PROJECTS, BudgetRow
from llm_gateway.infra.sqlalchemy_asyncio import AsyncConnection

# PostgreSQL's advisory lock: shared while usage rows are added to balances, exclusive while a budget is counted.
_LOCK_KEY: Final = 0x6C67_6275_6467_6574
_SHARED = sa.text(f"SELECT pg_advisory_xact_lock_shared({_LOCK_KEY})")
_EXCLUSIVE = sa.text(f"SELECT pg_advisory_xact_lock({_LOCK_KEY})")
_REVISIONS = sa.select(
    sa.select(sa.func.max(tables.config_state.c.version)).scalar_subquery(),
    sa.select(sa.func.coalesce(sa.func.max(counted_budgets.c.revision), 0)).scalar_subquery(),
)
_COUNTED = sa.select(counted_budgets.c.budget_id, counted_budgets.c.definition)
_c = credentials.table.c
# Their tenant is a credential's own, or that of its project.
HAS_TENANT: Final = sa.or_(
    _c.tenant.is_not(None),
    _c.project.in_(sa.select(PROJECTS.table.c.name).where(PROJECTS.table.c.tenant.is_not(None))),
)
HAS_PROJECT: Final = _c.project.is_not(None)
_NAMING = sa.select(_c.name, _c.trusts_attribution, HAS_TENANT, HAS_PROJECT).where(
    sa.or_(_c.trusts_attribution, HAS_TENANT, HAS_PROJECT)
)
# Surfaces vouch for the names that they state, with a row of their credential or without.
VOUCHING: Final = tuple(account.name for account in SURFACE_ACCOUNTS)


class Believed(NamedTuple):
    """What the rows of one credential say that is more than a client's word."""

    tenant: bool
    project: bool
    # The agent and the user.
    names: bool


class Definitions:
    """The budgets, enabled or not, at one moment."""

    __slots__ = ("counted", "definitions", "index", "naming", "revision", "uncounted", "zone")

    def __init__(
        self,
        index: BudgetIndex,
        zone: tzinfo,
        counted: dict[int, str],
        revision: int,
        naming: Mapping[str, Believed],
    ) -> None:
        """`counted` has the definition by which each budget is counted, by its id.

        `naming` says what is believed of the rows of each credential; nothing, if it is not there.
        """
        self.index = index
        self.zone = zone
        self.revision = revision
        self.definitions = {key: _definition(one.budget, zone) for key, one in index.by_id.items()}
        self.counted = frozenset(
            key for key, definition in self.definitions.items() if counted.get(key) == definition
        )
        # Budgets that were added or redefined.
        self.uncounted = tuple(sorted(self.definitions.keys() - self.counted))
        # Any client may state a name.
        self.naming = naming

    def spender(self, record: UsageRecord) -> Spender:
        """Return on whose behalf a request was sent, as far as that is believed."""
        believed = self.naming.get(record.credential or "")
        if believed is None:
            return Spender(record.credential)
        return Spender(
            record.credential,
            record.tenant if believed.tenant else None,
            record.project if believed.project else None,
            record.agent if believed.names else None,
            record.end_user if believed.names else None,
        )


class DefinitionReader:
    """Reads the budgets in a transaction; does not read again what did not change."""

    def __init__(self, zone: tzinfo) -> None:
        self.zone = zone
        self._known: tuple[tuple[int, int], Definitions] | None = None

    async def read(self, connection: AsyncConnection) -> Definitions:
        """Return the budgets as the transaction of `connection` sees them."""
        version, revision = (await connection.execute(_REVISIONS)).one()
        key = (int(version or 0), int(revision))
        if self._known is not None and self._known[0] == key:
            return self._known[1]
        budgets = [
            budget
            for row in await connection.execute(BUDGETS.query)
            if (budget := _read(BudgetRow(*row))) is not None
        ]
        counted = {row.budget_id: row.definition for row in await connection.execute(_COUNTED)}
        naming: dict[str, Believed] = {}
        if budgets:
            for name, trusts, has_tenant, has_project in await connection.execute(_NAMING):
                vouches = bool(trusts) or name in VOUCHING
                vouches_for_project = vouches and name != CLAIMING_PROJECTS
                naming[name] = Believed(
                    vouches or bool(has_tenant), vouches_for_project or bool(has_project), vouches
                )
            for name in VOUCHING:
                naming.setdefault(name, Believed(True, name != CLAIMING_PROJECTS, True))
        definitions = Definitions(BudgetIndex(budgets), self.zone, counted, key[1], naming)
        self._known = key, definitions
        return definitions

    def forget(self) -> None:
        """Read again: a transaction whose state was read did not commit."""
        self._known = None


async def share_counting(connection: AsyncConnection) -> None:
    """Wait until no budget is being counted for the first time, and let none begin before this transaction ends."""
    if connection.dialect.name == "postgresql":
        await connection.execute(_SHARED)


async def stop_counting(connection: AsyncConnection) -> None:
    """Wait until no transaction adds usage rows to balances, and let none begin before this one ends.

    SQLite needs neither: it has one writer at a time.
    """
    if connection.dialect.name == "postgresql":
        await connection.execute(_EXCLUSIVE)


def _read(row: BudgetRow) -> Budget | None:
    """Return the budget of a row, None if it was changed by hand to something that makes no sense."""
    budget = Budget(**BUDGETS.read(row, row.name, []))
    is_sound = budget.scope in get_args(BudgetScope) and budget.period in get_args(BudgetPeriod)
    return budget if is_sound and type(budget.amount_nano_usd) is int else None


def _definition(budget: Budget, zone: tzinfo) -> str:
    """Return what decides which usage rows a budget covers, and in which windows."""
    parts = (budget.scope, budget.subject, budget.period, budget.models, budget.counts_from, str(zone))
    return msgspec.json.encode(parts).decode()
