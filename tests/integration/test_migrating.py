"""One process at a time migrates the schema up or down (S4.20)."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic.config import Config
from alembic.script import ScriptDirectory

from llm_gateway.infra.database import migrating
from llm_gateway.infra.database.address import SqliteAddress, StoreAddress, embedded_address, read_address
from llm_gateway.infra.database.engine import close_engine, make_engine, reading, writing
from llm_gateway.infra.startup_error import StartupError

ROOT = Path(migrating.__file__).parents[4]


@pytest.fixture
def address(store_url: str | None, data_dir: Path) -> StoreAddress:
    return embedded_address(data_dir / "new") if store_url is None else read_address(store_url)


def test_head_is_the_newest_migration() -> None:
    config = Config()
    config.set_main_option("script_location", str(ROOT / "migrations"))
    assert ScriptDirectory.from_config(config).get_current_head() == migrating.HEAD


async def test_s4_20_up_version_down(address: StoreAddress) -> None:
    assert await migrating.current_version(address) is None
    with pytest.raises(StartupError, match="no version"):
        await migrating.check_schema(address)
    assert await migrating.migrate_up(address) == migrating.HEAD
    assert await migrating.migrate_up(address) == migrating.HEAD
    assert await migrating.current_version(address) == migrating.HEAD
    await migrating.check_schema(address)
    down = [await migrating.migrate_down_one(address) for _ in range(int(migrating.HEAD))]
    assert down == [*(f"{number:04}" for number in range(int(migrating.HEAD) - 1, 0, -1)), None]
    engine = make_engine(address)
    async with reading(engine) as connection:
        left = await connection.run_sync(lambda sync: sa.inspect(sync).get_table_names())
    await close_engine(engine)
    assert left == ["alembic_version"]
    with pytest.raises(StartupError, match="no migration"):
        await migrating.migrate_down_one(address)
    assert await migrating.migrate_up(address) == migrating.HEAD


async def test_bringing_a_filled_0001_up_and_down_loses_nothing(address: StoreAddress) -> None:
    await migrating.migrate_up(address)
    while await migrating.current_version(address) != "0001":
        await migrating.migrate_down_one(address)
    now = "0" if isinstance(address, SqliteAddress) else "now()"
    filling = f"""
        INSERT INTO providers (provider_key, provider_type, api_base, secret, model_mapping, weight)
            VALUES ('p', 'openai', 'http://x', 'sealed', '{{"z": "1", "a": "2"}}', 7);
        INSERT INTO credentials (name, key_hash, key_prefix, allowed_models, rate_limit)
            VALUES ('c', 'hash', 'sk', '["z"]', 0);
        INSERT INTO usage (request_id, created_at, endpoint, method, stream, status_code, outcome,
            request_bytes, response_bytes, latency_ms, attempts)
            VALUES ('r', {now}, '/v1', 'POST', false, 200, 'ok', 1, 2, 3, 1);
        INSERT INTO sealed_settings (name, value) VALUES ('canary', 'x')
    """
    await run(address, *filling.split(";"))
    before = await everything(address)
    assert [len(rows) for rows in before.values()] == [1, 1, 1, 1, 0, 1]
    await migrating.migrate_up(address)
    begun = before["usage"][0]["created_at"]
    # The request took 3 ms.
    finished = 3000 if isinstance(begun, int) else begun + timedelta(milliseconds=3)
    beside = dict.fromkeys(("oauth2", "api_version", "stream_usage", "probe_interval", "price_provider"))
    account = dict.fromkeys(
        ("cache", "tenant", "project", "limits", "agent_limits", "user_limits", "expires_at", "previous_key_hash",
         "previous_key_expires_at", "revoked_at")
    )  # fmt: skip
    # Nothing is known of what requests cost before there were costs.
    costs = dict.fromkeys(
        ("cache_write_tokens", "cached_in_prompt", "cost_nano_usd", "cost_source", "unpriced", "cost_breakdown",
         "price_version", "requested_tier", "served_tier", "tenant", "project", "agent", "end_user", "channel",
         "soeid", "tags", "quantities", "temperature")
    )  # fmt: skip
    assert await everything(address) == before | {
        "providers": [before["providers"][0] | beside],
        "credentials": [
            before["credentials"][0] | account | {"trusts_attribution": False, "require_pricing": False}
        ],
        "usage": [before["usage"][0] | costs | {"cache_hit": False, "finished_at": finished, "requests": 1}],
    }
    await run(address, "INSERT INTO models (name) VALUES ('m')")
    version = before.pop("config_state")[0]["version"]
    assert (await everything(address))["config_state"] == [{"id": 1, "version": version + 1}]
    while await migrating.current_version(address) != "0001":
        await migrating.migrate_down_one(address)
    await run(address, "UPDATE providers SET is_enabled = true")
    down = await everything(address)
    assert down.pop("config_state") == [{"id": 1, "version": version + 2}]
    assert down == before


async def run(address: StoreAddress, *statements: str) -> None:
    engine = make_engine(address)
    async with writing(engine) as connection:
        for statement in statements:
            await connection.exec_driver_sql(statement)
    await close_engine(engine)


async def everything(address: StoreAddress) -> dict[str, list[dict[str, Any]]]:
    """Return all rows of the tables of 0001."""
    names = ("providers", "credentials", "usage", "sealed_settings", "config_versions", "config_state")
    engine = make_engine(address)
    async with reading(engine) as connection:
        found = {name: await connection.exec_driver_sql(f"SELECT * FROM {name}") for name in names}
        rows = {name: [dict(row._mapping) for row in result] for name, result in found.items()}
    await close_engine(engine)
    return rows


async def test_workers_that_start_together_migrate_once(address: StoreAddress) -> None:
    assert await asyncio.gather(*(migrating.migrate_up(address) for _ in range(6))) == [migrating.HEAD] * 6
    engine = make_engine(address)
    async with reading(engine) as connection:
        assert (await connection.exec_driver_sql("SELECT version FROM config_state")).all() == [(1,)]
    await close_engine(engine)


async def test_a_database_of_a_newer_gateway_is_a_start_fault(address: StoreAddress) -> None:
    await migrating.migrate_up(address)
    engine = make_engine(address)
    async with writing(engine) as connection:
        await connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    await close_engine(engine)
    for work in (migrating.migrate_up, migrating.migrate_down_one):
        with pytest.raises(StartupError, match="newer"):
            await work(address)


def test_a_start_with_nothing_to_do_imports_no_alembic(data_dir: Path) -> None:
    program = """
import asyncio, sys
from llm_gateway.infra.database.migrating import migrate_up
asyncio.run(migrate_up(sys.argv[1]))
print("alembic" in sys.modules)
"""
    command = [sys.executable, "-c", program, f"sqlite:///{data_dir}/x.db"]
    printed = [subprocess.run(command, capture_output=True, text=True, check=True).stdout for _ in range(2)]
    assert printed == ["True\n", "False\n"]


def test_alembics_own_commands_work_with_db_url(store_url: str | None, data_dir: Path) -> None:
    environment = os.environ | {"DB_URL": store_url or f"sqlite:///{data_dir}/own.db"}
    for arguments in (["upgrade", "head"], ["check"], ["downgrade", "-1"], ["upgrade", "head"]):
        done = subprocess.run(
            [sys.executable, "-m", "alembic", "-c", str(ROOT / "alembic.ini"), *arguments],
            env=environment,
            cwd=data_dir,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
