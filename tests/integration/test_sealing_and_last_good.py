"""A wrong key stops the start, a rotated one locks nobody out, and a start needs no database (design 4.2, 4.11)."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest
import sqlalchemy as sa

from llm_gateway.core.config.catalog import Catalog
from llm_gateway.core.secret import Secret
from llm_gateway.flow.ports.catalog import StoreUnavailable
from llm_gateway.infra.database import tables
from llm_gateway.infra.database.catalog.last_good import LastGoodCatalog, LastGoodFile
from llm_gateway.infra.database.catalog.sealing import SealedSettings, open_pepper
from llm_gateway.infra.database.catalog.stored_catalog import StoredCatalog
from llm_gateway.infra.database.engine import reading
from llm_gateway.infra.secrets.key_files import KeyRing
from llm_gateway.infra.startup_error import StartupError
from tests.fakes.stores import Store, opened, ring


async def test_a_wrong_key_is_a_start_fault_that_names_the_variable(
    store_url: str | None, data_dir: Path
) -> None:
    async with opened(store_url, data_dir, keys=ring("right")) as store:
        await store.add_provider("x", secret=Secret("sk-sealed"))
    for source in ("SECRET_KEY", "ADMIN_KEY"):
        wrong = KeyRing((Secret("wrong-key"),), source)
        with pytest.raises(StartupError) as fault:
            async with opened(store_url, data_dir, keys=wrong):
                pass
        assert str(fault.value).startswith(source)
        assert "wrong-key" not in str(fault.value)
    async with opened(store_url, data_dir, keys=ring("right")) as store:
        assert (await store.catalog.load()).providers[0].secret == Secret("sk-sealed")


async def test_rotating_the_key_reseals_and_locks_nobody_out(store_url: str | None, data_dir: Path) -> None:
    async with opened(store_url, data_dir, keys=ring("old"), environ={"E": "x"}) as store:
        await store.add_provider("x", secret=Secret("sk-sealed"))
        await store.add_provider("e", secret=Secret("env:E"))
        await store.add_credential("me", "sk-client")
        key_hash = store.hasher.hash("sk-client")
    async with opened(store_url, data_dir, keys=ring("new", "old"), environ={"E": "x"}) as store:
        assert store.hasher.hash("sk-client") == key_hash
    async with opened(store_url, data_dir, keys=ring("new"), environ={"E": "x"}) as store:
        catalog = await store.catalog.load()
        assert [provider.secret for provider in catalog.providers] == [Secret("sk-sealed"), Secret("x")]
        assert catalog.credentials[0].key_hash == key_hash == store.hasher.hash("sk-client")
        version = catalog.version
    async with opened(store_url, data_dir, keys=ring("new"), environ={"E": "x"}) as store:
        assert await store.catalog.version() == version, "nothing is resealed twice"
    with pytest.raises(StartupError):
        async with opened(store_url, data_dir, keys=ring("old")):
            pass


async def test_workers_that_start_together_share_one_pepper(store_url: str | None, data_dir: Path) -> None:
    async def start() -> bytes:
        async with opened(store_url, data_dir) as store:
            return store.hasher.hash("sk")

    assert len(set(await asyncio.gather(*(start() for _ in range(5))))) == 1


async def test_the_pepper_is_not_readable_at_rest(store_url: str | None, data_dir: Path) -> None:
    async with opened(store_url, data_dir) as store, reading(store.engine) as connection:
        rows = (await connection.execute(sa.select(tables.sealed_settings))).all()
    assert {row.name for row in rows} == {"canary", "pepper"}
    assert all(row.value.startswith("sealed:1:") for row in rows)


# --- the last good catalog ----------------------------------------------------------------------------


async def restarted_without_database(store: Store, data_dir: Path) -> Catalog | None:
    """Read the kept copy as a new process would."""
    file = LastGoodFile(data_dir, store.address.shown)
    sealed = file.read_settings()
    if sealed is None:
        return None
    assert open_pepper(store.vault, sealed, ring())
    return await LastGoodCatalog(file, sealed, store.decoder).load()


async def test_what_is_served_is_kept_and_readable_without_the_database(
    store_url: str | None, data_dir: Path
) -> None:
    async with opened(store_url, data_dir) as store:
        await store.add_provider(
            "x", secret=Secret("sk-sealed"), model_mapping={"b": "1", "a": "2"}, weight=3
        )
        await store.add_credential("me", "sk-client", allowed_models=("a",), rate_limit=5)
        await store.last_good.close()
        kept = await restarted_without_database(store, data_dir)
        assert kept == await store.catalog.load()
        assert store.file.path.stat().st_mode & 0o777 == 0o600
        content = store.file.path.read_bytes()
        assert b"sk-sealed" not in content
        assert b"sk-client" not in content
        # What is refused is not kept.
        await store.sql("UPDATE providers SET api_base = 'nonsense'")
        await store.reloader.reload()
        await store.last_good.close()
        assert await restarted_without_database(store, data_dir) == kept
        assert [path.name for path in data_dir.iterdir() if "good" in path.name] == ["last_good_catalog"]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\n",
        b"{}\n{}",
        b"\xff",
        b'{"format":99,"version":1,"database":"x","sealed":{"canary":"","pepper":""}}\n[]',
    ],
)
async def test_a_damaged_or_foreign_file_is_no_catalog(data_dir: Path, content: bytes) -> None:
    async with opened(None, data_dir) as store:
        await store.last_good.close()
        foreign = LastGoodFile(data_dir, "another.example:5432/name")
        assert foreign.read_settings() is None
        assert foreign.read_catalog() is None
        store.file.path.write_bytes(content)
        assert store.file.read_settings() is None
        assert await store.last_good.load() is None


async def test_a_burst_of_changes_is_written_once_or_twice(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(None, data_dir) as store:
        written: list[int] = []
        write = LastGoodFile.write

        def counted(file: LastGoodFile, stored: StoredCatalog, sealed: SealedSettings) -> None:
            written.append(stored.version)
            write(file, stored, sealed)

        monkeypatch.setattr(LastGoodFile, "write", counted)
        await store.add_provider("x")
        catalog = await store.catalog.load()
        for _ in range(50):
            store.last_good.save(catalog)
        await store.last_good.close()
        assert len(written) <= 4
        store.last_good.save(Catalog(version=3))


async def test_a_folder_that_cannot_be_written_is_a_warning(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_args: object) -> None:
        raise OSError(28, os.strerror(28))

    async with opened(None, data_dir) as store:
        monkeypatch.setattr(LastGoodFile, "write", full)
        await store.add_provider("x")
        await store.last_good.close()


async def test_a_database_that_is_gone_is_named_without_a_password(data_dir: Path) -> None:
    with pytest.raises(StoreUnavailable) as gone:
        async with opened("postgresql://u:hunter2@127.0.0.1:1/x", data_dir):
            pass
    assert "hunter2" not in f"{gone.value!r} {gone.value.__cause__!r}"
    assert gone.value.status == 503
