"""What budgets have spent and what machines hold of them: read and changed while their rows are locked."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import sqlalchemy as sa

from llm_gateway.core.config.budgets import BudgetWindow
from llm_gateway.flow.ports.budgets import BalanceReader, Balances, BudgetBalance, Trade, WindowState
from llm_gateway.infra.database.budget_tables import budget_balances, budget_holds
from llm_gateway.infra.database.budgets.counting import count_new_budgets
from llm_gateway.infra.database.budgets.definitions import DefinitionReader, Definitions
from llm_gateway.infra.database.budgets.posting import window_key
from llm_gateway.infra.database.engine import reading, writing
from llm_gateway.infra.database.tables import UnixMicros
from llm_gateway.infra.sqlalchemy_asyncio import AsyncConnection, AsyncEngine

# In percent of a budget: the webhook is told once of each.
THRESHOLDS: Final = (80, 95, 100)
# A hold that ends later than this was written under another clock, and counts as ended. Longer than any lease.
_LONGEST_US: Final = 600_000_000
# Ended holds are deleted after this.
_FORGOTTEN_US: Final = 86_400_000_000

_b, _h = budget_balances.c, budget_holds.c
_KEY: Final = (_b.budget_id, _b.subject, _b.window_start)
_HOLD_KEY: Final = (_h.budget_id, _h.subject, _h.window_start)
_AT: Final = (sa.bindparam("window_start", type_=UnixMicros),)
_NEW_BALANCE = sa.text(
    "INSERT INTO budget_balances (budget_id, subject, window_start) VALUES (:budget_id, :subject, :window_start) "
    "ON CONFLICT (budget_id, subject, window_start) DO NOTHING"
).bindparams(*_AT)
_SET_HOLD = sa.text(
    "INSERT INTO budget_holds (budget_id, subject, window_start, holder, borrowed_nano_usd, shipped_nano_usd, "
    "expires_at) VALUES (:budget_id, :subject, :window_start, :holder, :borrowed, :shipped, :expires_at) "
    "ON CONFLICT (budget_id, subject, window_start, holder) DO UPDATE SET borrowed_nano_usd = "
    "excluded.borrowed_nano_usd, shipped_nano_usd = excluded.shipped_nano_usd, expires_at = excluded.expires_at"
).bindparams(*_AT, sa.bindparam("expires_at", type_=UnixMicros))
_DELETE_HOLD = sa.text(
    "DELETE FROM budget_holds WHERE budget_id = :budget_id AND subject = :subject AND window_start = :window_start "
    "AND holder = :holder"
).bindparams(*_AT)
_REACHED = sa.text(
    "UPDATE budget_balances SET notified = :reached, notify_tries = 0, notify_after = NULL WHERE "
    "budget_id = :budget_id AND subject = :subject AND window_start = :window_start AND notified < :reached"
).bindparams(*_AT)


class BalanceRepository(Balances, BalanceReader):
    """The tables `budget_balances` and `budget_holds`.

    Holds end by the database's clock. Rows are locked in the order of their keys, balances before holds, as
    `BudgetPosting` locks them, so that no two transactions wait for each other.
    """

    def __init__(
        self,
        engine: AsyncEngine,
        definitions: DefinitionReader,
        clock: Callable[[], int] = lambda: time.time_ns() // 1000,
    ) -> None:
        """`clock` returns Unix microseconds; SQLite's holds end by it, too."""
        self._engine = engine
        self._definitions = definitions
        self._clock = clock

    async def trade(self, holder: str, lease: float, trades: Sequence[Trade]) -> Sequence[WindowState]:
        if not trades:
            return []
        await self.count_new_budgets()
        states: dict[BudgetWindow, WindowState] = {}
        async with writing(self._engine) as connection:
            definitions = await self._definitions.read(connection)
            ordered = sorted(trades, key=lambda trade: trade.window)
            keys = [window_key(trade.window) for trade in ordered]
            await connection.execute(_NEW_BALANCE, keys)
            balances = await _balances(connection, [trade.window for trade in ordered], lock=True)
            holds = await _holds(connection, [trade.window for trade in ordered])
            now = await self._now(connection)
            kept, deleted, reached = [], [], []
            for trade in ordered:
                spent, notified = balances.get(trade.window, (0, 0))
                before = _state(trade, holder, spent, holds.get(trade.window, ()), definitions, now)
                after = _traded(before, trade)
                states[trade.window] = after
                key = {**window_key(trade.window), "holder": holder}
                if trade.is_last:
                    deleted.append(key)
                else:
                    numbers = {"borrowed": after.borrowed, "shipped": after.shipped}
                    kept.append({**key, **numbers, "expires_at": now + round(lease * 1e6)})
                if (percent := threshold(after, is_refused=trade.is_refused)) > notified:
                    reached.append({**window_key(trade.window), "reached": percent})
            for statement, rows in ((_SET_HOLD, kept), (_DELETE_HOLD, deleted), (_REACHED, reached)):
                if rows:
                    await connection.execute(statement, rows)
        return [states[trade.window] for trade in trades]

    async def read(self, windows: Sequence[BudgetWindow]) -> Sequence[WindowState]:
        await self.count_new_budgets()
        async with reading(self._engine) as connection:
            definitions = await self._definitions.read(connection)
            balances = await _balances(connection, windows, lock=False)
            holds = await _holds(connection, windows)
            now = await self._now(connection)
            return [
                _state(
                    Trade(window=window, change=lambda _: 0),
                    "",
                    balances.get(window, (0, 0))[0],
                    holds.get(window, ()),
                    definitions,
                    now,
                )
                for window in windows
            ]

    async def current(self, budget_ids: Sequence[int]) -> Mapping[int, BudgetBalance]:
        async with reading(self._engine) as connection:
            definitions = await self._definitions.read(connection)
        now = self._clock()
        windows = [
            compiled.window("", max(now, compiled.budget.counts_from), definitions.zone)
            for key in budget_ids
            if (compiled := definitions.index.by_id.get(key)) is not None and not compiled.is_of_each
        ]
        states = await self.read([one.window for one in windows]) if windows else []
        return {
            one.budget.id: BudgetBalance(
                spent=state.spent,
                held=state.held,
                remaining=max(one.budget.amount_nano_usd - state.spent - state.held, 0),
                reset_at=one.end,
            )
            for one, state in zip(windows, states, strict=True)
        }

    async def count_new_budgets(self) -> None:
        """Give every budget that is new or redefined its balances."""
        async with reading(self._engine) as connection:
            uncounted = (await self._definitions.read(connection)).uncounted
        if uncounted:
            await count_new_budgets(self._engine, self._definitions, self._clock())

    async def delete_ended_holds(self) -> None:
        """Delete the holds of machines that are gone."""
        async with writing(self._engine) as connection:
            now = await self._now(connection)
            await connection.execute(sa.delete(budget_holds).where(_h.expires_at < now - _FORGOTTEN_US))

    async def _now(self, connection: AsyncConnection) -> int:
        if connection.dialect.name != "postgresql":
            return self._clock()
        now = sa.func.clock_timestamp(type_=UnixMicros)
        return int((await connection.execute(sa.select(now))).scalar_one())


def threshold(state: WindowState, *, is_refused: bool = False) -> int:
    """Return the highest threshold that is reached, 0 if none is.

    A budget whose last part is too small for its requests is used up, too.
    """
    spent, amount = state.spent, state.amount
    reached = max((one for one in THRESHOLDS if spent > 0 and spent * 100 >= amount * one), default=0)
    return THRESHOLDS[-1] if is_refused and reached else reached


def _traded(before: WindowState, trade: Trade) -> WindowState:
    if trade.settled is not None:
        # Records may have been lost, and a worker may have died between a record and its settlement.
        before = _replace(before, shipped=trade.settled)
    return _replace(before, borrowed=before.borrowed + trade.change(before))


def _replace(state: WindowState, **changes: int) -> WindowState:
    fields = {name: getattr(state, name) for name in state.__struct_fields__}
    return WindowState(**{**fields, **changes})


_Holds = Sequence[tuple[str, int, int, int]]


def _state(
    trade: Trade, holder: str, spent: int, holds: _Holds, definitions: Definitions, now: int
) -> WindowState:
    budget = definitions.index.by_id.get(trade.window.budget_id)
    others = 0
    borrowed = shipped = trade.base or 0
    for name, its_borrowed, its_shipped, expires_at in holds:
        if name == holder:
            if trade.base is None:
                borrowed, shipped = its_borrowed, its_shipped
        elif now < expires_at <= now + _LONGEST_US:
            others += max(its_borrowed - its_shipped, 0)
    return WindowState(
        amount=0 if budget is None or not budget.budget.is_enabled else budget.budget.amount_nano_usd,
        spent=spent,
        others=others,
        borrowed=borrowed,
        shipped=shipped,
    )


async def _balances(
    connection: AsyncConnection, windows: Sequence[BudgetWindow], *, lock: bool
) -> Mapping[BudgetWindow, tuple[int, int]]:
    statement = sa.select(*_KEY, _b.spent_nano_usd, _b.notified).where(sa.tuple_(*_KEY).in_(windows))
    if lock:
        statement = statement.order_by(*_KEY).with_for_update()
    rows = await connection.execute(statement)
    return {BudgetWindow(*row[:3]): (row.spent_nano_usd, row.notified) for row in rows}


async def _holds(
    connection: AsyncConnection, windows: Sequence[BudgetWindow]
) -> Mapping[BudgetWindow, _Holds]:
    statement = sa.select(
        *_HOLD_KEY, _h.holder, _h.borrowed_nano_usd, _h.shipped_nano_usd, _h.expires_at
    ).where(sa.tuple_(*_HOLD_KEY).in_(windows))
    found: dict[BudgetWindow, list[tuple[str, int, int, int]]] = {}
    for row in await connection.execute(statement):
        found.setdefault(BudgetWindow(*row[:3]), []).append(tuple(row[3:]))
    return found
