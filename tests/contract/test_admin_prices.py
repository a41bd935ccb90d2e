"""`/admin/v1/prices` over HTTP on both stores: overrides, their checks, and prices in force."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from llm_gateway.core.pricing.price_table import price
from tests.fakes.admin_client import AdminClient, admin_client
from tests.fakes.stores import opened

PROVIDER = {
    "provider_key": "main",
    "provider_type": "openai",
    "api_base": "https://api.openai.com/v1",
    "model_mapping": {"smart": "gpt-4o", "own": "my-model"},
}
OWN = {
    "provider": "main",
    "upstream_model": "my-model",
    "prices": {"input_tokens": "0.5", "output_tokens": 1.25},
}
USAGE = {"input_tokens": 1_000_000, "output_tokens": 1_000_000}


@pytest.fixture
async def desk(store_url: str | None, data_dir: Path) -> AsyncIterator[AdminClient]:
    async with opened(store_url, data_dir) as store, admin_client(store) as desk:
        await desk.ask("POST", "/providers", 201, json=PROVIDER)
        yield desk


def served(desk: AdminClient, model: str, at: int = 0) -> tuple[str, str, int | None]:
    """Return source, version and cost of USAGE at the deployment that serves `model`."""
    snapshot = desk.store.holder.current
    assert snapshot is not None
    route = snapshot.route(model)
    assert route is not None
    prices = route.deployments[0].prices
    assert prices is not None
    found = prices.at(at)
    return found.source, found.version, price(found.table, USAGE).nano_usd


async def test_an_override_is_stored_shown_and_in_force(desk: AdminClient) -> None:
    assert served(desk, "own")[2] is None
    made = await desk.ask("POST", "/prices", 201, json=OWN)
    assert made["prices"] == {"input_tokens": "0.5", "output_tokens": "1.25"}
    assert (made["valid_from"], made["valid_until"]) == (None, None)
    assert "warnings" not in made
    shown = await desk.ask("GET", f"/prices/{made['id']}")
    assert served(desk, "own") == ("override", shown["price_version"], 1_750_000_000)

    # What was left out is not free.
    half = await desk.ask("PATCH", f"/prices/{made['id']}", json={"prices": {"input_tokens": 0}})
    assert half["warnings"] == [
        "prices: there is none for output_tokens, so the cost of a request with any is not known; 0 means free"
    ]
    assert served(desk, "own") == ("override", half["price_version"], None)

    free = {"input_tokens": "0", "output_tokens": "0"}
    changed = await desk.ask("PATCH", f"/prices/{made['id']}", json={"prices": free})
    assert changed["prices"] == free
    assert served(desk, "own") == ("override", changed["price_version"], 0)
    assert changed["price_version"] != shown["price_version"]

    deleted = await desk.ask("DELETE", f"/prices/{made['id']}")
    assert deleted["deleted"]
    assert served(desk, "own")[2] is None
    await desk.refused("GET", f"/prices/{made['id']}", 404)
    notes = [
        row[0]
        for row in await desk.store.sql("SELECT action FROM config_versions ORDER BY version DESC LIMIT 4")
    ]
    label = f"price {made['id']} 'main/my-model'"
    assert notes == [f"deleted {label}", *2 * [f"updated {label}: prices"], f"created {label}"]


async def test_dates_begin_and_end_an_override(desk: AdminClient) -> None:
    body = {**OWN, "valid_from": "2026-01-01", "valid_until": "2026-02-01T00:00:00+01:00"}
    made = await desk.ask("POST", "/prices", 201, json=body)
    assert made["valid_from"] == "2026-01-01T00:00:00.000000Z"
    assert made["valid_until"] == "2026-01-31T23:00:00.000000Z"
    january, end = 1_767_225_600_000_000, 1_769_900_400_000_000
    sources = [served(desk, "own", at)[2] for at in (january - 1, january, end - 1, end)]
    assert sources == [None, 1_750_000_000, 1_750_000_000, None]
    # What was loaded is what a restart without the database reads.
    (loaded,) = (await desk.store.catalog.load()).prices
    assert (loaded.valid_from, loaded.valid_until) == (january, end)
    always = await desk.ask("PATCH", f"/prices/{made['id']}", json={"valid_from": None, "valid_until": None})
    assert served(desk, "own", 0) == ("override", always["price_version"], 1_750_000_000)


@pytest.mark.parametrize(
    ("change", "param", "says"),
    [
        ({"prices": {"input_token": 1}}, "prices.input_token", "similar units are input_tokens"),
        ({"prices": {}}, "prices", "at least 1 item"),
        ({"prices": {"input_tokens": "-1"}}, "prices", "must be a number from 0"),
        ({"prices": {"input_tokens": "NaN"}}, "prices.input_tokens", "USD as text or a number"),
        ({"prices": {"input_tokens": "1e999999"}}, "prices.input_tokens", "USD as text or a number"),
        ({"prices": {"input_tokens": True}}, "prices.input_tokens", "USD as text or a number"),
        ({"prices": {"input_tokens": None}}, "prices.input_tokens", "USD as text or a number"),
        ({"prices": {"input_tokens": "1.0000000000000000001"}}, "prices", "at most 18 decimals"),
        ({"prices": {"input_tokens": 0.12345678901234567}}, "prices.input_tokens", "must be sent as text"),
        ({"prices": {"cache_read_tokens": 1}}, "prices", "needs one for input_tokens"),
        ({"valid_from": "2026-01-02", "valid_until": "2026-01-01"}, "valid_until", "later than valid_from"),
        ({"valid_from": "soon"}, "valid_from", "ISO 8601"),
        ({"provider": ""}, "provider", ""),
        ({"price": {}}, "price", ""),
    ],
)
async def test_what_is_refused(desk: AdminClient, change: dict[str, Any], param: str, says: str) -> None:
    error = await desk.refused("POST", "/prices", json={**OWN, **change})
    assert error["param"] == param
    assert says in error["message"]
    assert (await desk.ask("GET", "/prices"))["data"] == []


async def test_what_has_no_effect_is_a_warning(desk: AdminClient) -> None:
    nobody = await desk.ask("POST", "/prices", 201, json={**OWN, "provider": "gone"})
    assert nobody["warnings"] == ["provider: there is no enabled provider 'gone'"]
    unmapped = await desk.ask("POST", "/prices", 201, json={**OWN, "upstream_model": "other"})
    assert unmapped["warnings"] == ["upstream_model: provider 'main' maps no model to 'other'"]


async def test_a_server_of_ones_own_counts_as_free_if_an_admin_says_so(desk: AdminClient) -> None:
    own = {
        "provider_key": "own",
        "provider_type": "plain",
        "api_base": "http://10.0.0.1",
        "model_mapping": {"l*": "*"},
    }
    await desk.ask("POST", "/providers", 201, json=own)
    assert served(desk, "llama")[2] is None
    free = {"provider": "own", "upstream_model": "*", "prices": {"input_tokens": 0, "output_tokens": 0}}
    made = await desk.ask("POST", "/prices", 201, json=free)
    assert "warnings" not in made
    assert served(desk, "llama") == ("override", made["price_version"], 0)


@pytest.mark.parametrize(
    ("model", "amount", "says"),
    [
        ("gpt-4o", "0.0025", "per 1,000 tokens; prices are per 1,000,000 tokens, and the price book has 2.5"),
        ("gpt-4o", "0.0025", "did you mean 2.5? Send confirm_magnitude: true to keep it."),
        ("gpt-4o", 2500, "looks too high"),
        ("my-model", 0.0000005, "looks like a price per token"),
    ],
)
async def test_a_price_of_another_magnitude_has_to_be_confirmed(
    desk: AdminClient, model: str, amount: str | float, says: str
) -> None:
    body = {**OWN, "upstream_model": model, "prices": {"input_tokens": amount}}
    for path in ("/prices", "/prices?dry_run=true"):
        error = await desk.refused("POST", path, json=body)
        assert error["param"] == "prices.input_tokens"
        assert says in error["message"]
    made = await desk.ask("POST", "/prices", 201, json={**body, "confirm_magnitude": True})
    assert "confirm_magnitude" not in made
    row = f"/prices/{made['id']}"
    # What was confirmed stays without being confirmed again, and what is new does not.
    await desk.ask("PATCH", row, json={"valid_until": "2030-01-01"})
    await desk.ask("PUT", row, json=made)
    error = await desk.refused("PATCH", row, json={"prices": {"input_tokens": "0.0001"}})
    assert error["param"] == "prices.input_tokens"


async def test_an_if_match_a_dry_run_and_an_etag(desk: AdminClient) -> None:
    tried = await desk.ask("POST", "/prices?dry_run=true", json=OWN)
    assert tried["dry_run"]
    assert served(desk, "own")[2] is None
    answer = await desk.client.get("/admin/v1/prices")
    assert answer.json()["data"] == []
    version = answer.headers["etag"]
    await desk.ask("POST", "/prices", 201, json=OWN, headers={"if-match": version})
    await desk.refused("POST", "/prices", 412, json=OWN, headers={"if-match": version})


async def test_prices_in_force(desk: AdminClient) -> None:
    async def shown(model: str, **query: str) -> dict[str, Any]:
        found: dict[str, Any] = await desk.ask(
            "GET", "/prices/in-force", params={"provider": "main", "model": model, **query}
        )
        return found

    known = await shown("gpt-4o")
    assert (known["source"], known["price_provider"], known["unknown"]) == ("catalog", "openai", None)
    assert known["version"].startswith("genai-prices-")
    assert known["prices"]["input_tokens"] == "2.5"
    unknown = await shown("my-model")
    assert (unknown["source"], unknown["unknown"], unknown["prices"]) == ("none", "unknown_model", {})
    made = await desk.ask("POST", "/prices", 201, json={**OWN, "valid_from": "2030-01-01"})
    assert (await shown("my-model"))["source"] == "none"
    later = await shown("my-model", at="2030-01-01T00:00:00Z")
    assert (later["source"], later["version"]) == ("override", made["price_version"])
    assert later["prices"] == {"input_tokens": "0.5", "output_tokens": "1.25"}
    error = await desk.refused("GET", "/prices/in-force", 404, params={"provider": "gone", "model": "gpt-4o"})
    assert error["param"] == "provider"
    await desk.refused("GET", "/prices/in-force", params={"provider": "main"})


async def test_a_faulty_override_is_left_out_and_named(desk: AdminClient) -> None:
    good = await desk.ask("POST", "/prices", 201, json=OWN)
    for prices in ('{"input_tokens": 1}', '{"nonsense": "1"}', "[]"):
        await desk.store.sql(
            "INSERT INTO prices (provider, upstream_model, prices) VALUES ('main', 'my-model', :prices)",
            prices=prices,
        )
    await desk.refused("POST", "/config/reload")
    assert served(desk, "own") == ("override", good["price_version"], 1_750_000_000)
    listed = (await desk.ask("GET", "/prices"))["data"]
    assert ["faults" in row for row in listed] == [False, True, True, True]
    assert listed[1]["faults"][0] == "prices must be an object of units and decimal USD as text"
    assert "nonsense is not a unit" in listed[2]["faults"][0]
    # Setting the prices repairs a row.
    await desk.ask(
        "PATCH", f"/prices/{listed[1]['id']}", json={"prices": {"input_tokens": 0.75, "output_tokens": 0}}
    )
    assert served(desk, "own")[2] == 750_000_000
    assert "faults" not in (await desk.ask("GET", f"/prices/{listed[1]['id']}"))


async def test_a_provider_with_prices_keeps_its_name(desk: AdminClient) -> None:
    await desk.ask("POST", "/prices", 201, json=OWN)
    error = await desk.refused("PATCH", "/providers/main", 409, json={"provider_key": "other"})
    assert error["param"] == "provider_key"
    assert "1 price names it" in error["message"]
    await desk.ask("DELETE", "/providers/main")
    (row,) = (await desk.ask("GET", "/prices"))["data"]
    assert row["warnings"] == ["provider: there is no enabled provider 'main'"]


async def test_a_provider_states_whose_prices_apply(desk: AdminClient) -> None:
    private = {**PROVIDER, "provider_key": "private", "api_base": "http://10.0.0.1/v1"}
    made = await desk.ask("POST", "/providers", 201, json=private)
    assert made["price_provider"] is None

    async def in_force() -> Any:
        query = {"provider": "private", "model": "gpt-4o"}
        return (await desk.ask("GET", "/prices/in-force", params=query))["source"]

    assert await in_force() == "none"
    changed = await desk.ask("PATCH", "/providers/private", json={"price_provider": "azure"})
    assert changed["price_provider"] == "azure"
    assert await in_force() == "catalog"
    error = await desk.refused("PATCH", "/providers/private", json={"price_provider": "antropic"})
    assert error["param"] == "price_provider"
    assert "similar names are anthropic" in error["message"]
