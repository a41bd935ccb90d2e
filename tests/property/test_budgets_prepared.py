"""What is prepared once for many requests decides as the rules for all cases do, to the nano-dollar."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from llm_gateway.core.config.budgets import BudgetWindow, Covered
from llm_gateway.core.config.limits import Budget
from llm_gateway.core.pricing.deployment_prices import DeploymentPrices
from llm_gateway.flow.ports.budgets import BudgetShares, OnSettled, PreparedHold, Shortage
from llm_gateway.flow.ports.limits import Reservation, Verdict
from llm_gateway.infra.budgets.bell import Bell
from llm_gateway.infra.budgets.share_file import (
    ALL_HELD,
    AMOUNT,
    BELL,
    BORROWED,
    FAILING,
    HOLDS,
    LEASE_END,
    LEFT,
    READ_AT,
    SPENT,
    USED,
    WORKERS,
    ShareFile,
)
from llm_gateway.infra.budgets.shares import SharedBudgets
from llm_gateway.infra.price_book.shipped import shipped_price_book
from tests.fakes.compiled_parts import WAYS, Way, locking
from tests.fakes.prepared_holds import hold, unheard
from tests.fakes.prices import CHEAP, DEAR, prices_of, unknown
from tests.fakes.usage_records import record
from tests.unit.flow.accounting.test_budget_limit import Shares, account, budget, demand, limit

NOW = 10**12
TOTAL = 1000
NEAR = st.integers(-3, 3)
AMOUNTS = st.integers(0, 30) | st.sampled_from([TOTAL, 2 * TOTAL])
# Of a slot: what is borrowed, spent and held by two workers, how long its lease lasts, and the amount as it was read.
SLOTS = st.tuples(
    st.integers(0, 40),
    st.tuples(st.integers(0, 9), st.integers(0, 9)),
    st.tuples(st.integers(0, 9), st.integers(0, 9)),
    NEAR,
    st.sampled_from([TOTAL, TOTAL, TOTAL, TOTAL - 1, 0]),
    st.sampled_from([0, NOW - 1, NOW - 10**9]),
)


def covered(number: int) -> Covered:
    budget = Budget(id=number, name="b", scope="all", amount_nano_usd=TOTAL, period="total", counts_from=1)
    return Covered(budget, BudgetWindow(number, "", 1), None)


class Desk:
    """One of two workers, and its slots."""

    def __init__(self, folder: Path, windows: Sequence[Covered], workers: int) -> None:
        self.file = ShareFile(folder, "db", 1)
        self.bell = Bell(self.file.folder / "bell")
        self.shares = SharedBudgets(self.file, self.bell, lambda: NOW)
        self.windows = windows
        self.prepared = self.shares.prepare(windows, unheard, unheard)
        self.file.head[WORKERS] = workers

    def set(self, values: Sequence[tuple[int, tuple[int, int], tuple[int, int], int, int, int]]) -> None:
        self.file.head[BELL] = 0
        for window, (borrowed, used, holds, lease, amount, read_at) in zip(self.windows, values, strict=True):
            with self.file.locked():
                slot = self.file.claim(window.window, None)
            assert slot is not None
            slot[BORROWED], slot[LEASE_END], slot[AMOUNT], slot[READ_AT] = (
                borrowed,
                NOW + lease,
                amount,
                read_at,
            )
            slot[SPENT], slot[ALL_HELD], slot[LEFT] = 3, 5, 7
            # The second worker has none of it while there is only one.
            workers = self.file.head[WORKERS]
            for worker in range(workers):
                slot[USED + worker], slot[HOLDS + worker] = used[worker], holds[worker]

    def cells(self) -> list[list[int]]:
        with self.file.locked():
            return [self.file.head[BELL : BELL + 1].tolist(), *(slot.tolist() for slot in self.file.slots())]


@contextmanager
def desks(number: int, workers: int) -> Iterator[tuple[Desk, Desk]]:
    windows = [covered(one) for one in range(1, number + 1)]
    with tempfile.TemporaryDirectory() as folder:
        both = (Desk(Path(folder) / "a", windows, workers), Desk(Path(folder) / "b", windows, workers))
        yield both
        for desk in both:
            desk.bell.close()
            desk.file.close()


@pytest.mark.parametrize("way", WAYS)
@given(
    number=st.integers(1, 3),
    workers=st.integers(1, 2),
    steps=st.lists(
        st.tuples(SLOTS, SLOTS, SLOTS, AMOUNTS, AMOUNTS, st.booleans(), st.booleans()), max_size=6
    ),
)
@example(
    number=1, workers=1, steps=[((40, (1, 1), (1, 1), 3, TOTAL, NOW - 1),) * 3 + (5, 5, False, False)] * 2
)
@example(
    number=2, workers=2, steps=[((40, (1, 1), (1, 1), 3, TOTAL, NOW - 1),) * 3 + (5, 0, False, True)] * 2
)
def test_windows_that_are_prepared_hold_what_others_do(
    way: Way, number: int, workers: int, steps: list[Any]
) -> None:
    with locking(way), desks(number, workers) as (prepared, plain):
        for first, second, third, amount, cost, fails, moves in steps:
            values = (first, second, third)[:number]
            for desk in (prepared, plain):
                desk.set(values)
                desk.file.head[FAILING] = fails
            found = hold(prepared.prepared, amount)
            expected = plain.shares.try_hold(plain.windows, amount)
            assert found is not None
            assert expected is not None
            if isinstance(expected, Shortage):
                assert found == expected
            else:
                assert not isinstance(found, Shortage)
                assert prepared.cells() == plain.cells()
                found.settle(record("r", cost_nano_usd=cost))
                expected.settle(cost)
            assert prepared.cells() == plain.cells()
            if moves:
                # Its slot is another window's from now on, until it is claimed again.
                for desk in (prepared, plain):
                    with desk.file.locked():
                        slot = desk.file.find(desk.windows[0].window)
                        assert slot is not None
                        desk.file.free(slot)
                        assert desk.file.claim(covered(99).window, None) is not None
                with prepared.file.locked():
                    assert prepared.file.find(covered(1).window) is None


BOOK = shipped_price_book()
PRICES = (
    prices_of(CHEAP),
    prices_of(DEAR),
    unknown(),
    None,
    DeploymentPrices(BOOK.schedule("google", "gemini-2.5-pro"), "1"),
    DeploymentPrices(BOOK.schedule("openai", "gpt-4o-mini"), "1"),
)


# Of the deployment that is asked first, and so few that no estimate relies on them.
REPLIES = st.sampled_from([0, 7, 150])
FIELDS: dict[str, Any] = {
    "tools": [{"name": "t", "text": "x" * 100}], "functions": [], "response_format": "x" * 5000, "temperature": 0.5,
    "service_tier": "flex", "n": 3, "max_completion_tokens": 5, "prompt": "x" * 80, "suffix": "y", "input": "z" * 90,
    "instructions": "w" * 10, "max_output_tokens": 10**9, "best_of": 2,
}  # fmt: skip


@given(
    st.lists(st.sampled_from(PRICES), min_size=1, max_size=4),
    st.integers(0, 5000) | st.integers(700_000, 900_000),
    st.none() | st.integers(0, 100_000) | st.just(10**9),
    st.sets(st.sampled_from(sorted(FIELDS)), max_size=3),
    st.sampled_from(["chat/completions", "completions", "embeddings", "responses"]),
    REPLIES,
)
@example([prices_of(CHEAP)], 100, None, set(), "chat/completions", 150)
@example([prices_of(CHEAP)], 100, None, {"input"}, "embeddings", 0)
@example([prices_of(CHEAP)], 100, 10**9, set(), "chat/completions", 150)
def test_the_amount_that_is_held_is_that_of_the_tables(
    prices: list[Any], size: int, most: int | None, names: set[str], endpoint: Any, replies: int
) -> None:
    shares = QuickShares()
    one, who = limit(shares), account(budget())
    extra = {name: FIELDS[name] for name in names}
    what = demand(*prices, messages="x" * size, **extra)
    if most is None:
        del what.request.fields["max_tokens"]
    else:
        what.request.fields["max_tokens"] = msgspec.Raw(b"%d" % most)
    what.request.endpoint = endpoint
    reserve = one.for_account(who)
    assert reserve is not None
    for number in range(3):
        for tokens in range(replies):
            reply = record(
                "r",
                model="m",
                provider="p",
                upstream_model="u",
                outcome="ok",
                completion_tokens=tokens * number,
            )
            one._estimator.learn_once(reply)
        # Asked first, because the estimate of the amount counts replies.
        one.reserve(who, what)
        answer = reserve(what)
        assert isinstance(answer, Verdict)
        assert [amount for _, amount in shares.asked] == [one.amount_of(what)] * len(shares.asked)
        assert len(shares.asked) == 2
        shares.asked.clear()
        what.expected = None


class Quick(PreparedHold):
    """Holds all that is asked for in one call, as what is prepared does once slots are known."""

    def __init__(self, shares: Shares, windows: Sequence[Covered]) -> None:
        self._prepared = BudgetShares.prepare(shares, windows, unheard, unheard)
        self.try_hold = self._try

    def hold(self, amount: int) -> Reservation | Shortage | None:
        return self._prepared.hold(amount)

    def _try(self, amount: int) -> Reservation | None:
        answer = self.hold(amount) if amount > 0 else None
        assert not isinstance(answer, Shortage)
        return answer


class QuickShares(Shares):
    def prepare(
        self, windows: Sequence[Covered], on_settled: OnSettled, on_stated: OnSettled
    ) -> PreparedHold:
        del on_settled, on_stated
        return Quick(self, windows)
