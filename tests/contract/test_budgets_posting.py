"""What budgets have spent is the sum of the rows that they cover, whoever stores them and whenever."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import pytest

from llm_gateway.core.config.limits import Budget
from llm_gateway.infra.database.budgets.balances import BalanceRepository
from llm_gateway.infra.database.budgets.definitions import DefinitionReader
from llm_gateway.infra.database.budgets.posting import BudgetPosting, Holder
from llm_gateway.infra.database.usage.repository import UsageRepository
from tests.fakes.budget_machine import budget, now_us, store_budget
from tests.fakes.stores import Store, opened
from tests.fakes.usage_records import record

HOUR = 3_600_000_000


@pytest.fixture
async def store(store_url: str | None, data_dir: Path) -> AsyncIterator[Store]:
    async with opened(store_url, data_dir, start=False) as store:
        yield store


class Books:
    """One machine's view: it stores rows, and posts them."""

    def __init__(self, store: Store, name: str = "m", zone: Any = UTC) -> None:
        definitions = DefinitionReader(zone)
        self.store = store
        self.name = name
        self.posting = BudgetPosting(definitions)
        self.usage = UsageRepository(store.engine, [self.posting])
        self.balances = BalanceRepository(store.engine, definitions)
        self._numbers = 0

    async def ship(self, *costs: int | None, **changes: Any) -> None:
        values = {"created_at": now_us(), **changes}
        facts = []
        for cost in costs:
            self._numbers += 1
            one = record(f"{self.name}-{self._numbers}", **{**values, "cost_nano_usd": cost})
            facts.append(msgspec.json.encode(one))
        await self.usage.upsert(facts)

    async def spent(self, budget_id: int = 1) -> dict[tuple[str, int], int]:
        await self.balances.count_new_budgets()
        rows = await self.store.sql(
            "SELECT subject, window_start, spent_nano_usd FROM budget_balances WHERE budget_id = :id",
            id=budget_id,
        )
        return {(row[0], _us(row[1])): row[2] for row in rows}

    async def total(self, budget_id: int = 1) -> int:
        return sum((await self.spent(budget_id)).values())


def _us(moment: Any) -> int:
    return round(moment.timestamp() * 1e6) if isinstance(moment, datetime) else moment


@pytest.fixture
def books(store: Store) -> Books:
    return Books(store)


@pytest.mark.parametrize(
    ("scope", "subject", "counted", "not_counted"),
    [
        ("all", None, {}, None),
        ("credential", "team", {"credential": "team"}, {"credential": "other"}),
        ("tenant", "acme", {"tenant": "acme"}, {"tenant": None}),
        ("project", "x", {"project": "x"}, {"project": "y"}),
    ],
)
async def test_a_budget_counts_the_rows_of_its_subject(
    books: Books, scope: Any, subject: str | None, counted: dict[str, Any], not_counted: dict[str, Any] | None
) -> None:
    await books.store.add_credential("team", "key-of-the-team")
    await books.store.sql("UPDATE credentials SET tenant = 'acme', project = 'x'")
    await store_budget(books.store, budget(scope=scope, subject=subject))
    await books.ship(1, 2, None, **counted)
    assert await books.total() == 3
    await books.ship(4, **counted)
    if not_counted is not None:
        await books.ship(100, **not_counted)
        if scope != "credential":
            # Anybody may state the name of a tenant or a project.
            await books.ship(100, **counted, credential="anybody")
    assert await books.total() == 7


@pytest.mark.parametrize(
    ("name", "has_row"), [("trusting", True), ("surface:agents", False), ("surface:ping", True)]
)
async def test_each_agent_has_its_own_balance_if_its_name_is_believed(
    books: Books, name: str, has_row: bool
) -> None:
    if has_row:
        await books.store.add_credential(name, "key-of-the-trusting-one")
    if name == "trusting":
        await books.store.sql("UPDATE credentials SET trusts_attribution = true")
    await store_budget(books.store, budget(scope="agent"))
    await books.ship(1, credential=name, agent="a")
    assert await books.total() == 1
    await books.ship(2, 3, credential=name, agent="b")
    await books.ship(100, credential="team", agent="b")
    await books.ship(100, credential=name)
    assert {key[0]: value for key, value in (await books.spent()).items()} == {"a": 1, "b": 5}


async def test_models_may_be_named_or_globs(books: Books) -> None:
    await store_budget(books.store, budget(models=("gpt-*", "claude")))
    await books.ship(1, model="gpt-4o")
    await books.ship(100, model="gemini")
    assert await books.total() == 1
    await books.ship(2, model="claude")
    await books.ship(100, model=None)
    assert await books.total() == 3


async def test_days_are_those_of_the_time_zone(store: Store) -> None:
    books = Books(store, zone=ZoneInfo("Asia/Kathmandu"))
    midnight = datetime(2026, 3, 1, tzinfo=ZoneInfo("Asia/Kathmandu"))
    start = round(midnight.timestamp()) * 1_000_000
    await store_budget(store, budget(period="day", counts_from=start - 10 * HOUR))
    await books.balances.count_new_budgets()
    await books.ship(1, created_at=start - 1)
    await books.ship(2, created_at=start)
    await books.ship(4, created_at=start + 24 * HOUR - 1)
    await books.ship(8, created_at=start - 10 * HOUR - 1)
    assert await books.spent() == {("", start - 10 * HOUR): 1, ("", start): 6}


async def test_an_interrupted_row_that_is_replaced_counts_once(books: Books) -> None:
    await store_budget(books.store, budget())
    await books.total()
    interrupted = record(
        "r", created_at=now_us(), outcome="interrupted", status_code=0, attempts=1, cost_nano_usd=3
    )
    await books.usage.upsert([msgspec.json.encode(interrupted)])
    assert await books.total() == 3
    true_end = msgspec.structs.replace(interrupted, outcome="ok", cost_nano_usd=10)
    for _ in range(2):
        await books.usage.upsert([msgspec.json.encode(true_end)])
        assert await books.total() == 10


async def test_a_reset_counts_from_then_on(books: Books) -> None:
    await store_budget(books.store, budget())
    await books.ship(5)
    assert await books.total() == 5
    moment = now_us() + 1
    shown = (
        f"'epoch'::timestamptz + {moment} * interval '1 microsecond'"
        if books.store.is_postgres
        else str(moment)
    )
    await books.store.sql(f"UPDATE budgets SET counts_from = {shown}")
    await books.ship(7, created_at=moment + 1)
    spent = await books.spent()
    # The window before stays as it was.
    assert spent[("", moment)] == 7
    assert sum(spent.values()) == 12


async def test_a_redefined_budget_counts_anew(books: Books) -> None:
    await store_budget(books.store, budget(models=("gpt-4o",)))
    await books.ship(5, model="gpt-4o")
    await books.ship(6, model="other")
    assert await books.total() == 5
    await books.store.sql("UPDATE budgets SET models = NULL")
    assert await books.total() == 11


async def test_what_is_stored_leaves_the_hold_of_its_machine(books: Books) -> None:
    one = budget()
    await store_budget(books.store, one)
    await books.total()
    await books.store.sql(
        "INSERT INTO budget_holds SELECT budget_id, subject, window_start, 'm', 100, 0, window_start "
        "FROM (SELECT 1 AS budget_id, '' AS subject, counts_from AS window_start FROM budgets) AS one"
    )
    books.posting.holder = Holder("m", now_us() - HOUR // 100)
    await books.ship(30)
    # A request from before the machine borrowed, and one whose price was corrected.
    await books.ship(1, created_at=one.counts_from)
    assert await books.store.sql("SELECT borrowed_nano_usd, shipped_nano_usd FROM budget_holds") == [
        (100, 30)
    ]
    assert await books.total() == 31


async def test_absurd_costs_do_not_stop_the_shipping(books: Books) -> None:
    await store_budget(books.store, budget())
    await books.total()
    await books.ship(2**63 - 1)
    await books.ship(2**63 - 1, 5)
    assert await books.total() == 2**63 - 1


async def test_budgets_that_are_added_under_load_count_every_row_once(store: Store) -> None:
    """Two machines ship, a third one counts the budgets that are added meanwhile."""
    shipping = [Books(store, name) for name in ("a", "b")]
    counting = Books(store, "c")
    begun = now_us() - HOUR
    budgets: list[Budget] = []

    async def ship(books: Books) -> None:
        for number in range(60):
            await books.ship(number + 1, number + 2)

    async def add() -> None:
        for number in range(1, 11):
            one = budget(id=number, name=f"b{number}", counts_from=begun)
            await store_budget(store, one)
            budgets.append(one)
            await asyncio.sleep(0.02)
            await counting.balances.count_new_budgets()

    await asyncio.gather(*map(ship, shipping), add())
    rows = (await store.sql("SELECT sum(cost_nano_usd) FROM usage"))[0][0]
    assert rows == 2 * sum(2 * number + 3 for number in range(60))
    assert [await counting.total(one.id) for one in budgets] == [rows] * 10


@pytest.mark.parametrize("is_new", [False, True])
@pytest.mark.parametrize(
    ("scope", "credential", "fields"),
    [
        # The names of others, which their clients may state.
        ("tenant", "of-a-project", {"tenant": "acme"}),
        ("project", "of-a-tenant", {"project": "web"}),
        ("project", "surface:ping", {"project": "web"}),
        ("user", "of-a-tenant", {"end_user": "ada"}),
    ],
)
async def test_nobody_spends_the_budget_of_another_by_stating_its_name(
    books: Books, scope: Any, credential: str, fields: dict[str, Any], is_new: bool
) -> None:
    for name in ("of-a-tenant", "of-a-project", "of-both"):
        await books.store.add_credential(name, f"key-of-{name}")
    await books.store.sql("UPDATE credentials SET tenant = 'acme' WHERE name <> 'of-a-project'")
    await books.store.sql("UPDATE credentials SET project = 'web' WHERE name <> 'of-a-tenant'")
    if not is_new:
        await store_budget(books.store, budget(scope=scope))
        await books.total()
    await books.ship(100, credential=credential, **fields)
    own = {"tenant": "acme", "project": "web", "end_user": "ada"}
    counts = {"tenant": "of-both", "project": "of-both", "user": "surface:ping"}[scope]
    await books.ship(3, credential=counts, **own)
    if is_new:
        await store_budget(books.store, budget(scope=scope))
    assert await books.total() == 3


async def test_the_tenant_of_a_credential_s_project_is_its_own(books: Books) -> None:
    await books.store.add_credential("of-a-project", "key-of-it")
    await books.store.sql("UPDATE credentials SET project = 'web'")
    await books.store.sql(
        "INSERT INTO projects (name, tenant, created_at, updated_at) "
        "VALUES ('web', 'acme', CURRENT_TIMESTAMP, CURRENT_TIMESTAMP)"
    )
    await store_budget(books.store, budget(scope="tenant"))
    await books.ship(3, credential="of-a-project", tenant="acme", project="web")
    assert await books.total() == 3
