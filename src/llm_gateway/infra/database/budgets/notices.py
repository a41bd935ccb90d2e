"""The thresholds that budgets have reached, until the webhook was told of them."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from typing import Final

import sqlalchemy as sa

from llm_gateway.core.config.budgets import BudgetWindow
from llm_gateway.flow.ports.budgets import BudgetNotice, BudgetNotices
from llm_gateway.infra.database.budget_tables import budget_balances
from llm_gateway.infra.database.budgets.definitions import DefinitionReader
from llm_gateway.infra.database.engine import reading, writing
from llm_gateway.infra.sqlalchemy_asyncio import AsyncConnection, AsyncEngine

# Notices that are sent at once, and seconds for which nobody else sends them.
_AT_ONCE: Final = 20
_CLAIM_SECONDS: Final = 60
# After so many calls a notice is given up, a day and a half later.
_MOST_TRIES: Final = 40
_FIRST_WAIT, _LONGEST_WAIT = 2, 3600

_b = budget_balances.c
_KEY: Final = (_b.budget_id, _b.subject, _b.window_start)


class NoticeRepository(BudgetNotices):
    """Notices are claimed, sent and marked; one whose sender dies is sent again by whoever claims it next."""

    def __init__(
        self,
        engine: AsyncEngine,
        definitions: DefinitionReader,
        clock: Callable[[], int] = lambda: time.time_ns() // 1000,
    ) -> None:
        """`clock` returns Unix microseconds."""
        self._engine = engine
        self._definitions = definitions
        self._clock = clock

    async def claim(self) -> Sequence[BudgetNotice]:
        now = self._clock()
        is_due = sa.and_(
            _b.notified > _b.delivered, sa.or_(_b.notify_after.is_(None), _b.notify_after <= now)
        )
        statement = sa.select(budget_balances).where(is_due).order_by(*_KEY).limit(_AT_ONCE)
        async with reading(self._engine) as connection:
            if (await connection.execute(statement)).first() is None:
                return []
        async with writing(self._engine) as connection:
            definitions = await self._definitions.read(connection)
            rows = (await connection.execute(statement.with_for_update(skip_locked=True))).all()
            found = []
            for row in rows:
                window = BudgetWindow(row.budget_id, row.subject, row.window_start)
                later = {
                    "notify_after": now + _CLAIM_SECONDS * 1_000_000,
                    "notify_tries": row.notify_tries + 1,
                }
                compiled = definitions.index.by_id.get(window.budget_id)
                if compiled is None:
                    # The budget is gone.
                    await _update(connection, window, delivered=row.notified)
                    continue
                await _update(connection, window, **later)
                budget = compiled.budget
                end = compiled.window(
                    window.subject, max(window.start, budget.counts_from), definitions.zone
                ).end
                found.append(
                    BudgetNotice(
                        id=_notice_id(window, row.notified),
                        window=window,
                        end=end,
                        percent=row.notified,
                        budget=budget,
                        spent=row.spent_nano_usd,
                        tries=row.notify_tries + 1,
                    )
                )
            return found

    async def finish(self, notice: BudgetNotice, *, is_delivered: bool) -> bool:
        """Mark a notice as delivered, or as to be sent again; return False if it is given up."""
        is_given_up = not is_delivered and notice.tries >= _MOST_TRIES
        async with writing(self._engine) as connection:
            if is_delivered or is_given_up:
                # Another threshold may have been reached meanwhile, which is due at once.
                await _update(
                    connection, notice.window, delivered=notice.percent, notify_after=None, notify_tries=0
                )
            else:
                wait = min(_FIRST_WAIT * 2 ** min(notice.tries - 1, 20), _LONGEST_WAIT)
                await _update(connection, notice.window, notify_after=self._clock() + wait * 1_000_000)
        return not is_given_up


async def _update(connection: AsyncConnection, window: BudgetWindow, **values: object) -> None:
    where = [column == value for column, value in zip(_KEY, window, strict=True)]
    await connection.execute(sa.update(budget_balances).where(*where).values(**values))


def _notice_id(window: BudgetWindow, percent: int) -> str:
    text = f"{window.budget_id}\0{window.subject}\0{window.start}\0{percent}"
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]
