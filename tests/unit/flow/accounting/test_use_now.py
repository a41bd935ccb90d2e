"""What accounts have used of their limits, read without taking anything."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC
from pathlib import Path

import pytest

from llm_gateway.core.config.accounts import AppliedLimits
from llm_gateway.core.config.limits import Limits
from llm_gateway.flow.accounting.use_limit import account_key
from llm_gateway.flow.accounting.use_now import use_now
from llm_gateway.flow.ports.use_limits import Claim, HeldUse
from llm_gateway.infra.use_limits.shared import SharedUseStore

LIMITS = Limits(
    requests_per_second=100,
    requests_per_minute=200,
    requests_per_day=300,
    tokens_per_minute=400,
    tokens_per_day=500,
    concurrent_requests=6,
)
ACCOUNT = AppliedLimits("credential", "app", LIMITS, 7)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SharedUseStore]:
    made = SharedUseStore(tmp_path, "test", UTC)
    yield made
    await made.close()


async def test_use_of_every_limit(store: SharedUseStore) -> None:
    claim = Claim(account_key("credential", "7"), LIMITS, 30)
    first, second = store.hold([claim]), store.hold([claim])
    assert isinstance(first, HeldUse)
    assert isinstance(second, HeldUse)
    store.settle(first, 20)
    for _ in range(2):
        found = {one.name: (one.limit, one.used, one.held) for one in use_now(store, [ACCOUNT])}
        assert found == {
            "requests_per_second": (100, 2, 0),
            "requests_per_minute": (200, 2, 0),
            "requests_per_day": (300, 2, 0),
            "tokens_per_minute": (400, 20, 30),
            "tokens_per_day": (500, 20, 30),
            "concurrent_requests": (6, 0, 1),
        }


async def test_only_limits_that_are_set_are_listed_and_an_unused_account_has_used_nothing(
    store: SharedUseStore,
) -> None:
    found = use_now(store, [AppliedLimits("tenant", "acme", Limits(requests_per_day=0), 1)])
    assert [(one.account.subject, one.name, one.limit, one.used, one.held) for one in found] == [
        ("acme", "requests_per_day", 0, 0, 0)
    ]
