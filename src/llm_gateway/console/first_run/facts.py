"""What is known of a gateway's first steps, and what follows from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

from llm_gateway.console.services import ConsoleServices
from llm_gateway.core.ledger.records import UsageRecord
from llm_gateway.flow.ports.usage import UsageFilter

# A scraper reads /metrics every 15 seconds, or every minute.
_SCRAPED_LATELY: Final = 5 * 60 * 1_000_000

# optional = not done, and the gateway works without it.
State = Literal["done", "open", "optional"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What the gateway knows. Times are in Unix microseconds."""

    enabled_providers: int
    # Disabled, or with a fault.
    other_providers: int
    enabled_keys: int
    # The latest request that a provider answered.
    answered: UsageRecord | None
    # The latest request, whatever became of it.
    latest: UsageRecord | None
    in_flight: int
    provider_tested_at: int | None
    metrics_read_at: int | None
    is_scraped: bool
    has_budget_webhook: bool

    @property
    def first_request(self) -> State:
        """Whether a request has succeeded."""
        return "done" if self.answered is not None else "open"


class Step(NamedTuple):
    """One line of the checklist."""

    id: str
    title: str
    state: State


async def read_facts(services: ConsoleServices) -> Facts:
    """Look at the configuration in force and at the latest usage rows. Raises StoreUnavailable."""
    await services.flush()
    latest = await services.usage.list(UsageFilter(), None, 1)
    answered = latest
    if not _is_answered(latest):
        answered = await services.usage.list(UsageFilter(outcome="ok"), None, 1)
    snapshot, now = services.snapshots.current, services.clock.unix_us()
    read_at = services.machine.metrics_read_at()
    return Facts(
        enabled_providers=0 if snapshot is None else len(snapshot.providers),
        other_providers=0 if snapshot is None else len(snapshot.disabled) + len(snapshot.left_out),
        enabled_keys=0
        if snapshot is None
        else sum(credential.is_enabled for credential in snapshot.catalog.credentials),
        answered=answered[0] if _is_answered(answered) else None,
        latest=latest[0] if latest else None,
        in_flight=services.machine.active(),
        provider_tested_at=services.machine.provider_tested_at(),
        metrics_read_at=read_at,
        is_scraped=read_at is not None and now - read_at < _SCRAPED_LATELY,
        has_budget_webhook=services.has_budget_webhook,
    )


def _is_answered(rows: Sequence[UsageRecord]) -> bool:
    return bool(rows) and rows[0].outcome == "ok" and rows[0].provider is not None


def steps(facts: Facts, *, alerts_confirmed: bool) -> list[Step]:
    """Return the checklist. Every tick follows from a fact, except for alerts that an admin says are there."""

    def done(is_done: bool, otherwise: State = "open") -> State:
        return "done" if is_done else otherwise

    return [
        Step("provider", "Add a provider", done(facts.enabled_providers > 0)),
        Step(
            "tested",
            "See that it answers",
            done(facts.provider_tested_at is not None or facts.answered is not None),
        ),
        Step("key", "Create a key", done(facts.enabled_keys > 0)),
        Step("request", "Send a first request", facts.first_request),
        Step("dashboards", "Watch it", done(facts.is_scraped, "optional")),
        Step("alerts", "Be told", done(facts.has_budget_webhook or alerts_confirmed, "optional")),
    ]
