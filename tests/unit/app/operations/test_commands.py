"""The commands besides serving: each prepares what it needs, and can be run again."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import threading
from collections.abc import Awaitable, Callable
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from llm_gateway.app.keys import find_keys, store_address
from llm_gateway.app.operations import commands
from llm_gateway.app.operations.billing import reprice_usage
from llm_gateway.app.operations.config_files import export_config
from llm_gateway.app.operations.preparing import make_data_dir, prepare
from llm_gateway.app.operations.summaries import rebuild_rollups, summarize_usage
from llm_gateway.app.storage import open_storage
from llm_gateway.core.config.catalog import Catalog
from llm_gateway.core.errors import Conflict
from llm_gateway.core.secret import Secret
from llm_gateway.flow.ports.catalog import StoreUnavailable
from llm_gateway.flow.ports.usage import UsageFilter
from llm_gateway.infra.clock import SystemClock
from llm_gateway.infra.database.catalog.last_good import LastGoodFile
from llm_gateway.infra.database.catalog.sealing import SealedSettings
from llm_gateway.infra.database.catalog.stored_catalog import StoredCatalog
from llm_gateway.infra.database.migrating import HEAD
from llm_gateway.infra.startup_error import StartupError
from llm_gateway.settings import Settings
from llm_gateway.settings.reading import setting_names


@pytest.fixture(autouse=True)
def _isolated(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Settings of this machine do not reach these tests."""
    for name in setting_names(Settings):
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path / "new" / "data")


async def stored(settings: Settings) -> tuple[Catalog, bytes]:
    """Return the catalog, and what hashes b"" to: the hasher's pepper stays the same between commands."""
    async with open_storage(settings, find_keys(settings), SystemClock()) as storage:
        return await storage.catalog.load(), storage.hasher.hash("")


async def test_prepare_makes_the_folder_the_keys_and_the_schema(settings: Settings) -> None:
    prepared = await prepare(settings)
    assert prepared.admin_key_path == settings.data_dir / "admin_key"
    assert settings.data_dir.stat().st_mode & 0o777 == 0o700
    assert prepared.admin_key_path.read_text().startswith("admin-")
    assert await commands.schema_version(settings) == HEAD
    before = prepared.admin_key_path.read_text()
    await prepare(settings)
    assert prepared.admin_key_path.read_text() == before


@pytest.mark.parametrize(
    "command",
    [
        export_config,
        partial(summarize_usage, filters={}),
        partial(rebuild_rollups, since=None, until=None, report=print),
        partial(reprice_usage, wanted=UsageFilter(), apply=True),
    ],
)
async def test_what_reads_a_gateway_s_database_does_not_begin_a_new_one(
    settings: Settings, command: Callable[[Settings], Awaitable[object]]
) -> None:
    with pytest.raises(StartupError, match=r"no database at .*llm-gateway\.db\. Run this in the folder"):
        await command(settings)
    assert not settings.data_dir.exists()


async def test_an_admin_key_from_the_settings_has_no_file(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path / "data", admin_key=Secret("admin-from-env"))
    assert (await prepare(settings)).admin_key_path is None
    assert not (tmp_path / "data" / "admin_key").exists()


async def test_without_auto_migrate_an_old_schema_stops_the_start(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path / "data", auto_migrate=False)
    with pytest.raises(StartupError, match="migrate up"):
        await prepare(settings)
    assert await commands.migrate_up(settings) == HEAD
    await prepare(settings)


async def test_a_database_that_is_down_stops_the_preparation_unless_a_copy_was_saved(tmp_path: Path) -> None:
    """The start goes on with the last good catalog, if there is one."""
    settings = Settings(data_dir=tmp_path / "data", db_url=Secret(f"sqlite:///{tmp_path}/broken.db"))
    (tmp_path / "broken.db").mkdir()
    with pytest.raises(StoreUnavailable, match="unable to open database file"):
        await prepare(settings)
    sealed = SealedSettings(canary="c", pepper="p")
    empty = StoredCatalog(version=1, providers=(), credentials=(), models=(), task_types=())
    LastGoodFile(settings.data_dir, store_address(settings).shown).write(empty, sealed)
    assert (await prepare(settings)).admin_key_path is not None
    # A thread of aiosqlite outlives a connection that could not be opened, and reports its end to this event loop.
    for thread in threading.enumerate():
        if "_connection_worker_thread" in thread.name:
            await asyncio.to_thread(thread.join, 5)


def test_a_data_dir_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StartupError, match=r"DATA_DIR=.*file/data cannot be created: Not a directory"):
        make_data_dir(tmp_path / "file" / "data")


def test_a_data_dir_that_cannot_be_written_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Root may write everywhere.
    monkeypatch.setattr(os, "access", lambda _path, _mode: False)
    with pytest.raises(StartupError, match=r"DATA_DIR=.* is not writable\. Set DATA_DIR"):
        make_data_dir(tmp_path / "data")


async def test_migrations_go_up_and_down_one_at_a_time(settings: Settings) -> None:
    assert await commands.schema_version(settings) is None
    assert await commands.migrate_up(settings) == HEAD == await commands.schema_version(settings)
    assert await commands.migrate_down(settings) == f"{int(HEAD) - 1:04}"
    assert await commands.migrate_up(settings) == HEAD


async def test_a_credential_is_stored_with_what_was_asked_for(settings: Settings) -> None:
    key = await commands.create_credential(settings, "app", allowed_models=("m*",), rate_limit=3)
    assert key.startswith("sk-")
    (credential,) = (await stored(settings))[0].credentials
    assert (credential.name, credential.allowed_models, credential.rate_limit) == ("app", ("m*",), 3)
    async with open_storage(settings, find_keys(settings), SystemClock()) as storage:
        assert credential.key_hash == storage.hasher.hash(key)


async def test_a_key_that_was_given_is_the_credentials_key(settings: Settings) -> None:
    assert await commands.create_credential(settings, "app", key="sk-mine") == "sk-mine"
    with pytest.raises(Conflict) as taken:
        await commands.create_credential(settings, "other", key="sk-mine")
    assert taken.value.param == "key"
    assert "sk-mine" not in taken.value.message


async def test_the_demo_is_set_up_once(settings: Settings) -> None:
    access = await commands.seed_demo(settings)
    assert access.model == commands.DEMO_MODEL
    assert (settings.data_dir / "demo_key").stat().st_mode & 0o777 == 0o600
    assert await commands.seed_demo(settings) == access
    catalog, _ = await stored(settings)
    (provider,) = catalog.providers
    (credential,) = catalog.credentials
    assert (provider.provider_type, provider.model_mapping) == ("simulated", {"demo": "demo"})
    assert credential.name == "demo"


async def test_a_demo_key_that_was_lost_is_replaced(settings: Settings) -> None:
    first = await commands.seed_demo(settings)
    (settings.data_dir / "demo_key").unlink()
    second = await commands.seed_demo(settings)
    assert second.key != first.key
    assert [one.name for one in (await stored(settings))[0].credentials] == ["demo"]


async def test_a_backup_names_what_else_has_to_be_kept(settings: Settings, tmp_path: Path) -> None:
    await commands.create_credential(settings, "app")
    target = tmp_path / "backup.db"
    said = commands.back_up(settings, target)
    assert str(settings.data_dir / "secret_key") in said[1]
    with closing(sqlite3.connect(target)) as database:
        assert database.execute("SELECT name FROM credentials").fetchall() == [("app",)]
    with pytest.raises(StartupError, match="exists already"):
        commands.back_up(settings, target)
    given = replace(settings, secret_key=Secret("k"))
    assert "the value of SECRET_KEY" in commands.back_up(given, tmp_path / "other.db")[1]


def test_a_backup_of_postgresql_is_its_own_tools_work(tmp_path: Path) -> None:
    url = Secret("postgresql://me:secret@db:5432/gateway")
    settings = Settings(data_dir=tmp_path / "data", db_url=url, admin_key=Secret("a"))
    with pytest.raises(
        StartupError, match=r"pg_dump --format=custom --file=\S+ postgresql://me@db:5432/gateway"
    ):
        commands.back_up(settings, tmp_path / "backup.dump")


async def test_neither_key_is_readable_in_the_database(settings: Settings) -> None:
    key = await commands.create_credential(settings, "app")
    with sqlite3.connect(settings.data_dir / "llm-gateway.db") as connection:
        dump = "\n".join(connection.iterdump())
    connection.close()
    assert "'app'" in dump
    assert key not in dump


async def test_a_wrong_address_is_named_before_keys_that_it_would_need(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path / "data", db_url=Secret("mysql://host/name"))
    with pytest.raises(StartupError, match="DB_URL"):
        await prepare(settings)
