"""Rows written by hand in SQLite, which stores any value anywhere: read as PostgreSQL reads them, or named."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.admin_client import AdminClient, admin_client
from tests.fakes.stores import Store, opened

PROVIDER = {
    "provider_key": "main",
    "provider_type": "openai",
    "api_base": "http://127.0.0.1:9/v1",
    "api_key": "sk",
}


@pytest.fixture
async def desk(data_dir: Path) -> AsyncIterator[AdminClient]:
    async with opened(None, data_dir) as store, admin_client(store) as client:
        await client.ask("POST", "/providers", 201, json=PROVIDER)
        await client.ask("POST", "/credentials", 201, json={"name": "c", "key": "sk-client"})
        await client.ask("POST", "/models", 201, json={"name": "m"})
        await client.ask("POST", "/task-types", 201, json={"name": "t", "models": ["m"]})
        yield client


LISTS = ("providers", "credentials", "models", "task-types")
PATHS = {
    "providers": "/providers/1", "credentials": "/credentials/1", "models": "/models/1", "task_types": "/task-types/1"
}  # fmt: skip


def served(store: Store) -> Any:
    """Return the snapshot in force."""
    assert store.holder.current is not None
    return store.holder.current


@pytest.mark.parametrize(
    ("value", "is_enabled"),
    [
        ("'false'", False), ("'FALSE'", False), ("' f '", False), ("'no'", False), ("'off'", False), ("'0'", False),
        ("0", False), ("FALSE", False), ("'true'", True), ("'T'", True), ("'yes'", True), ("'on'", True), ("1", True),
        ("'1'", True),
    ],
)  # fmt: skip
async def test_a_flag_is_read_as_postgresql_reads_it(desk: AdminClient, value: str, is_enabled: bool) -> None:
    for table in ("credentials", "providers"):
        await desk.store.sql(f"UPDATE {table} SET is_enabled = {value}")
    await desk.ask("POST", "/config/reload")
    account = served(desk.store).account(desk.store.hasher.hash("sk-client"))
    assert account.credential.is_enabled is is_enabled
    assert len(served(desk.store).providers) == is_enabled
    for noun in ("credentials", "providers"):
        assert (await desk.ask("GET", f"/{noun}"))["data"][0]["is_enabled"] is is_enabled
        other = await desk.ask("PATCH", f"/{noun}/1", json={"is_enabled": not is_enabled})
        assert other["is_enabled"] is not is_enabled
        assert "faults" not in other


@pytest.mark.parametrize("value", ["'maybe'", "''", "0.5", "x'00'"])
async def test_what_is_no_flag_is_named_and_admits_nobody(desk: AdminClient, value: str) -> None:
    await desk.store.sql(f"UPDATE credentials SET is_enabled = {value}")
    error = await desk.refused("POST", "/config/reload")
    assert "credential 'c': is_enabled must be true or false" in error["message"]
    account = served(desk.store).account(desk.store.hasher.hash("sk-client"))
    assert not account.credential.is_enabled
    [row] = (await desk.ask("GET", "/credentials"))["data"]
    assert (row["is_enabled"], row["faults"]) == (False, ["is_enabled must be true or false"])
    repaired = await desk.ask("PATCH", "/credentials/1", json={"is_enabled": True})
    assert "faults" not in repaired


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("datetime('2026-11-29 10:11:12')", "2026-11-29T10:11:12.000000Z"),
        ("strftime('%Y-%m-%d %H:%M:%f', '2026-11-29 10:11:12.5')", "2026-11-29T10:11:12.500000Z"),
        ("'2026-11-29T12:11:12+02:00'", "2026-11-29T10:11:12.000000Z"),
        ("date('2026-11-29')", "2026-11-29T00:00:00.000000Z"),
        ("1790000000000000", "2026-09-21T14:13:20.000000Z"),
        ("'some day'", None),
        ("x'00ff'", None),
        ("1.5", None),
        ("9000000000000000000", None),
    ],
)
async def test_a_time_by_hand_breaks_no_list_and_no_write(
    desk: AdminClient, value: str, shown: str | None
) -> None:
    for table in PATHS:
        await desk.store.sql(f"UPDATE {table} SET created_at = {value}")
    await desk.ask("POST", "/config/reload")
    for noun in LISTS:
        [row] = (await desk.ask("GET", f"/{noun}"))["data"]
        assert row["created_at"] == shown, noun
    for table, path in PATHS.items():
        assert (await desk.ask("GET", path))["created_at"] == shown
        body: dict[str, Any] = {"models": ["m", "n"]} if table == "task_types" else {"cache": None}
        body = {"weight": 3} if table == "providers" else body
        assert (await desk.ask("PATCH", path, json=body))["created_at"] == shown


@pytest.mark.parametrize(
    ("table", "column", "value", "fault"),
    [
        ("providers", "weight", "'heavy'", "weight must be a whole number"),
        ("providers", "weight", "1.5", "weight must be a whole number"),
        ("providers", "stream_usage", "'perhaps'", "stream_usage must be true or false"),
        ("providers", "probe_interval", "'often'", "probe_interval must be a number of seconds, or null"),
        ("providers", "api_base", "x'ff'", "api_base must be text"),
        ("providers", "api_version", "x'ff'", "api_version must be text"),
        ("providers", "provider_key", "x'6d61696e'", "provider_key must be text"),
        ("providers", "secret", "x'ff'", "secret must be text"),
        (
            "providers",
            "model_mapping",
            "x'00ff'",
            "model_mapping must be an object of public names and upstream names",
        ),
        ("credentials", "allowed_models", "x'ff'", "allowed_models must be a list of model names, or null"),
        ("models", "fallbacks", "CAST(x'ff' AS TEXT)", "fallbacks must be a list of model names"),
        ("credentials", "rate_limit", "'many'", "rate_limit must be a whole number, or null"),
        ("credentials", "rate_limit", "0.5", "rate_limit must be a whole number, or null"),
        ("credentials", "key_hash", "'text'", "key must be set again: its stored hash is text"),
        ("credentials", "key_hash", "17", "key must be set again: its stored hash is text"),
        ("credentials", "name", "x'63'", "name must be text"),
        ("models", "strategy", "x'ff'", "strategy must be text"),
        ("models", "affinity", "x'ff'", "affinity must be text"),
        ("models", "name", "x'6d'", "name must be text"),
        ("task_types", "name", "x'74'", "name must be text"),
    ],
)
async def test_a_value_of_another_type_is_named_by_row_and_column(
    desk: AdminClient, table: str, column: str, value: str, fault: str
) -> None:
    await desk.store.sql(f"UPDATE {table} SET {column} = {value}")
    error = await desk.refused("POST", "/config/reload")
    assert fault in error["message"]
    for noun in LISTS:
        [row] = (await desk.ask("GET", f"/{noun}"))["data"]
        assert (
            row.get("faults", []) == ([fault] if noun.replace("-", "_") == table else [])
            or fault in row["faults"]
        )
    # Other rows can be written meanwhile, and the answer says what is left.
    made = await desk.ask("POST", "/credentials", 201, json={"name": "another"})
    assert any(fault in one for one in made["faults"])
    if column != "secret":
        assert (await desk.ask("GET", PATHS[table]))["faults"]
    assert (await desk.ask("DELETE", PATHS[table]))["deleted"]
    assert "faults" not in await desk.ask("DELETE", f"/credentials/{made['id']}")


async def test_a_hash_in_postgresqls_notation_is_read_as_bytes(desk: AdminClient) -> None:
    digest = desk.store.hasher.hash("sk-client")
    await desk.store.sql(f"UPDATE credentials SET key_hash = '\\x{digest.hex()}'")
    await desk.ask("POST", "/config/reload")
    assert served(desk.store).account(digest).credential.name == "c"


@pytest.mark.parametrize("table", ["credentials", "tenants", "projects"])
async def test_limits_that_cannot_be_are_shown_with_their_fault_and_can_be_repaired(
    desk: AdminClient, table: str
) -> None:
    if table != "credentials":
        await desk.ask("POST", f"/{table}", 201, json={"name": "c"})
    await desk.store.sql(f"UPDATE {table} SET limits = :limits", limits='{"requests_per_day": -1}')
    await desk.ask("POST", "/config/reload", 422)
    row = (await desk.ask("GET", f"/{table}"))["data"][0]
    assert row["limits"]["requests_per_day"] == -1
    assert row["faults"] == ["limits.requests_per_day must be 0 or more, or null"]
    repaired = await desk.ask("PATCH", f"/{table}/1", json={"limits": {"requests_per_day": 5}})
    assert repaired["limits"]["requests_per_day"] == 5
    assert "faults" not in (await desk.ask("GET", f"/{table}/1"))
