"""The checklist ticks off what the gateway knows, and names models that it serves."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from llm_gateway.console.chat_models import chat_models
from llm_gateway.console.first_run.facts import Facts, read_facts, steps
from llm_gateway.infra.json_lines import to_line
from tests.fakes.console_app import services
from tests.fakes.stores import Store, opened
from tests.fakes.usage_records import record

MINUTE = 60_000_000


@pytest.fixture
async def store(store_url: str | None, data_dir: Path) -> AsyncIterator[Store]:
    async with opened(store_url, data_dir) as opened_store:
        yield opened_store


async def read(store: Store, **others: Any) -> Facts:
    async def flush() -> bool:
        return True

    given: dict[str, Any] = {
        "usage": store.usage,
        "snapshots": store.holder,
        "machine": store.worker_registry,
        "clock": store.clock,
        "flush": flush,
        "has_budget_webhook": False,
    }
    return await read_facts(services(**given | others))


def states(facts: Facts, *, alerts_confirmed: bool = False) -> dict[str, str]:
    return {step.id: step.state for step in steps(facts, alerts_confirmed=alerts_confirmed)}


async def put(store: Store, *rows: dict[str, Any]) -> None:
    now = store.clock.unix_us()
    facts = [
        record(row.pop("request_id", f"id-{now}-{at}"), **{"created_at": now + at} | row)
        for at, row in enumerate(rows)
    ]
    await store.usage.upsert([to_line(fact) for fact in facts])


async def test_an_empty_gateway_has_everything_to_do(store: Store) -> None:
    facts = await read(store)
    assert states(facts) == {
        "provider": "open",
        "tested": "open",
        "key": "open",
        "request": "open",
        "dashboards": "optional",
        "alerts": "optional",
    }
    assert (facts.latest, facts.answered, facts.metrics_read_at) == (None, None, None)


async def test_steps_are_ticked_off_by_what_happens(store: Store) -> None:
    await store.add_provider(is_enabled=False)
    facts = await read(store)
    assert (states(facts)["provider"], facts.other_providers) == ("open", 1)
    await store.add_provider("second")
    assert states(await read(store))["provider"] == "done"
    await store.add_credential("off", is_enabled=False)
    assert states(await read(store))["key"] == "open"
    await store.add_credential()
    assert states(await read(store))["key"] == "done"
    # A request that nobody answered is shown, and ticks nothing off.
    await put(
        store, {"outcome": "rejected", "status_code": 404, "provider": None, "error_type": "model_not_found"}
    )
    facts = await read(store)
    assert (states(facts)["request"], states(facts)["tested"]) == ("open", "open")
    assert facts.latest is not None
    assert facts.latest.error_type == "model_not_found"
    # One that was answered stays what counts, even if the next one fails.
    await put(store, {"request_id": "good"}, {"request_id": "bad", "outcome": "error", "status_code": 502})
    facts = await read(store)
    assert (states(facts)["request"], states(facts)["tested"]) == ("done", "done")
    assert facts.latest is not None
    assert facts.answered is not None
    assert (facts.latest.request_id, facts.answered.request_id) == ("bad", "good")


async def test_what_the_workers_of_the_machine_know(store: Store) -> None:
    machine = store.worker_registry
    machine.provider_tested = machine.metrics_read = store.clock.unix_us()
    facts = await read(store)
    assert (states(facts)["tested"], states(facts)["request"], states(facts)["dashboards"]) == (
        "done",
        "open",
        "done",
    )
    machine.metrics_read -= 6 * MINUTE
    facts = await read(store)
    assert (states(facts)["dashboards"], facts.metrics_read_at) == ("optional", machine.metrics_read)


async def test_alerts_are_known_by_a_setting_or_by_an_admin(store: Store) -> None:
    assert states(await read(store, has_budget_webhook=True))["alerts"] == "done"
    assert states(await read(store), alerts_confirmed=True)["alerts"] == "done"


async def test_models_of_lines_are_ones_that_take_chats(store: Store) -> None:
    assert chat_models(None) == []
    assert chat_models(store.holder.current) == []
    await store.add_provider("off", is_enabled=False, model_mapping={"off": "x"})
    assert chat_models(store.holder.current) == []
    await store.add_provider(
        "main", model_mapping={"text-embedding-3-small": "e", "gpt-4o": "gpt-4o", "<b>": "gpt-4o"}
    )
    assert chat_models(store.holder.current) == ["gpt-4o", "<b>"]
    # The model of the latest request comes first, if it is still served.
    assert chat_models(store.holder.current, "<b>") == ["<b>", "gpt-4o"]
    assert chat_models(store.holder.current, "gone") == ["gpt-4o", "<b>"]


async def test_a_provider_of_all_models_is_asked_for_a_usual_one(store: Store) -> None:
    await store.add_provider("all")
    assert chat_models(store.holder.current) == ["gpt-4o-mini"]
    assert chat_models(store.holder.current, "gpt-5") == ["gpt-5"]
