"""What a form shows and what it sends: saving a form that nobody typed into changes nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from llm_gateway.console.catalog import (
    budgets,
    credentials,
    models,
    prices,
    projects,
    providers,
    task_types,
    tenants,
)
from llm_gateway.console.editing.resource_pages import ResourcePages
from llm_gateway.resources.shapes import UpdateBody
from tests.fakes.console_client import Browser, console_browser, form_fields
from tests.fakes.stores import opened

LIMITS = {
    "requests_per_second": 1,
    "requests_per_minute": 2,
    "requests_per_day": 3,
    "tokens_per_minute": 4,
    "tokens_per_day": 10**15,
    "concurrent_requests": 0,
}
HOSTILE = "<script>alert(\"1\")</script> & 'x' \N{HEBREW LETTER ALEF}"
# Every field is set, and differs from its default.
FULL: list[tuple[Any, dict[str, Any]]] = [
    (
        providers.PAGES,
        {
            "provider_key": "<script>alert(1)<& 'x' \N{HEBREW LETTER ALEF}",
            "provider_type": "plain",
            "api_base": "http://127.0.0.1:9/v1",
            "api_key": "sk-the-secret-of-the-provider",
            "model_mapping": {HOSTILE: "a=b", "x = y": '"quoted"', '"z': "up", "gpt-*": "*"},
            "weight": 0,
            "is_enabled": False,
            "oauth2": {"token_url": "http://127.0.0.1:9/t", "client_id": "<c>", "scope": "a b"},
            "api_version": "2024-10-21",
            "stream_usage": False,
            "probe_interval": 2.5,
            "price_provider": "azure",
        },
    ),
    (
        models.PAGES,
        {
            "name": HOSTILE,
            "strategy": "least_busy",
            "weights": {"p": 0, "a=b": 7, HOSTILE: 2**31 - 1},
            "fallbacks": ["b", "a", HOSTILE + "2"],
            "context_fallbacks": ["long"],
            "policy_fallbacks": ["mild", "a=b"],
            "timeouts": {"connect": 0.5, "first_content": 2, "idle": 3.25, "total": 86_400},
            "retry": {
                "max_retries": 0,
                "initial_backoff_ms": 10,
                "max_backoff_ms": 20,
                "backoff_factor": 1.5,
                "jitter": 0.0,
                "retry_cut": False,
            },
            "affinity": "header:x-session",
            "cache": {"is_enabled": False, "ttl": 0.001, "is_shared": True},
        },
    ),
    (task_types.PAGES, {"name": HOSTILE, "models": ["b", "a", HOSTILE]}),
    (tenants.PAGES, {"name": HOSTILE, "limits": LIMITS, "is_enabled": False}),
    (projects.PAGES, {"name": HOSTILE, "tenant": "acme", "limits": LIMITS, "is_enabled": False}),
    (
        credentials.PAGES,
        {
            "name": HOSTILE,
            "allowed_models": ["gpt-4o*", "a=b", HOSTILE],
            "rate_limit": 0,
            "is_enabled": False,
            "cache": {"is_enabled": False, "ttl": None, "is_shared": False},
            "tenant": "acme",
            "project": "web",
            "limits": LIMITS,
            "agent_limits": LIMITS | {"tokens_per_day": None},
            "user_limits": LIMITS | {"concurrent_requests": None},
            "trusts_attribution": True,
            "require_pricing": True,
            "expires_at": "2099-12-31T22:00:00.000001Z",
        },
    ),
    (
        budgets.PAGES,
        {
            "name": HOSTILE,
            "scope": "tenant",
            "subject": "acme",
            "amount_usd": "0.000000001",
            "period": "day",
            "models": ["gpt-4o*", HOSTILE],
            "is_enabled": False,
        },
    ),
    (
        prices.PAGES,
        {
            "provider": "p",
            "upstream_model": HOSTILE,
            "prices": {
                "input_tokens": "2.5",
                "cache_read_tokens": "0",
                "output_tokens": "10.000000000000000001",
            },
            "valid_from": "2026-01-01T00:00:00Z",
            "valid_until": "2099-01-01T00:00:00.5Z",
        },
    ),
]
# Nothing is set that need not be.
BARE: list[tuple[Any, dict[str, Any]]] = [
    (providers.PAGES, {"provider_key": "bare", "provider_type": "openai"}),
    (models.PAGES, {"name": "bare"}),
    (task_types.PAGES, {"name": "bare", "models": ["m"]}),
    (tenants.PAGES, {"name": "bare"}),
    (projects.PAGES, {"name": "bare"}),
    (credentials.PAGES, {"name": "bare"}),
    (budgets.PAGES, {"name": "bare", "scope": "all", "amount_usd": "1", "period": "total"}),
    (prices.PAGES, {"provider": "p", "upstream_model": "*", "prices": {"requests": "1"}}),
]
# Other values that forms must tell apart from none.
OTHERS: list[tuple[Any, dict[str, Any]]] = [
    (
        providers.PAGES,
        {"provider_key": "other", "provider_type": "openai", "api_key": "env:PATH", "stream_usage": True},
    ),
    (models.PAGES, {"name": "other", "retry": {"retry_cut": False}, "cache": {"is_enabled": False}}),
    (models.PAGES, {"name": "other", "retry": {"max_retries": 3}, "cache": {"is_enabled": True}}),
    (credentials.PAGES, {"name": "other", "allowed_models": [], "cache": {"is_enabled": True, "ttl": 0.5}}),
    (credentials.PAGES, {"name": "other", "cache": {"is_enabled": True, "ttl": 60, "is_shared": True}}),
    (credentials.PAGES, {"name": "other", "limits": LIMITS | dict.fromkeys(LIMITS) | {"tokens_per_day": 0}}),
    (budgets.PAGES, {"name": "other", "scope": "agent", "amount_usd": "1e3", "period": "month"}),
]
# Set by the gateway, or only sent: a key is typed anew.
NOT_SHOWN = frozenset(UpdateBody.model_fields) | {
    "key_prefix", "previous_key_expires_at", "revoked_at", "price_version",
    "counts_from", "spent_usd", "held_usd", "remaining_usd", "reset_at",
}  # fmt: skip


@pytest.fixture
async def browser(data_dir: Path) -> AsyncIterator[Browser]:
    async with opened(None, data_dir) as store, console_browser(store) as browser:
        await store.add_provider()
        await browser.fill("/console/tenants/new", name="acme")
        await browser.fill("/console/projects/new", name="web", tenant="acme")
        yield browser


def named(case: object) -> str:
    return case.one if isinstance(case, ResourcePages) else ""


@pytest.mark.parametrize(("pages", "body"), FULL + BARE + OTHERS, ids=named)
async def test_saving_without_typing_changes_nothing(
    browser: Browser, pages: ResourcePages[Any], body: dict[str, Any]
) -> None:
    made = await browser.store.editor.create(pages.new.model_validate(with_access(pages, body)).update())
    version = made.stored_version
    answer = await browser.fill(f"{pages.path}/{made.row.id}")
    assert answer.status_code == 303, answer.text
    found = await browser.store.browser.get(pages.stored, made.row.id)
    assert found.value == made.row
    assert found.version == version


@pytest.mark.parametrize(("pages", "body"), FULL, ids=named)
async def test_a_row_with_every_field_can_be_made_with_the_form(
    browser: Browser, pages: ResourcePages[Any], body: dict[str, Any]
) -> None:
    made = await browser.store.editor.create(pages.new.model_validate(with_access(pages, body)).update())
    fields = form_fields(await browser.get(f"{pages.path}/{made.row.id}"))
    await browser.store.editor.delete(pages.stored, made.row.id)
    del fields["updated_at"]
    fields |= {name: text for name, text in body.items() if name == "api_key"}
    answer = await browser.post(f"{pages.path}/new", fields)
    assert answer.status_code in {200, 303}, answer.text
    again = (await browser.store.browser.page(pages.stored, None, 10)).value.items[-1]
    own = {"id", "created_at", "updated_at", "key_prefix", "counts_from"}
    names = [name for name in again.__struct_fields__ if name not in own]
    assert [getattr(again, name) for name in names] == [getattr(made.row, name) for name in names]


@pytest.mark.parametrize("pages", [pages for pages, _ in FULL], ids=named)
async def test_every_field_of_a_body_is_in_the_form(browser: Browser, pages: ResourcePages[Any]) -> None:
    fields = pages.fields(browser.services, None)
    assert {one.name.partition(".")[0] for one in fields} - {"access"} == set(
        pages.change.model_fields
    ) - NOT_SHOWN


def with_access(pages: ResourcePages[Any], body: dict[str, Any]) -> dict[str, Any]:
    """Add what the form of a credential sends besides its models."""
    if pages is not credentials.PAGES:
        return body
    models = body.get("allowed_models")
    return body | {"access": "all" if models is None else "listed" if models else "none"}
