"""The last good catalog is saved in DATA_DIR, so that a start needs no database (design 4.11)."""

from __future__ import annotations

import base64
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from loguru import logger

from llm_gateway.core.config.cache_rules import CacheRules
from llm_gateway.core.config.catalog import Catalog
from llm_gateway.core.config.credentials import Credential
from llm_gateway.core.config.models import RetryRules, Timeouts
from llm_gateway.core.config.providers import ClientCredentials
from llm_gateway.core.secret import Secret
from llm_gateway.flow.config.rows.models import ModelUpdate
from llm_gateway.flow.config.rows.prices import PriceUpdate
from llm_gateway.flow.config.rows.task_types import TaskTypeUpdate
from llm_gateway.infra.database.catalog.decoding import CatalogDecoder
from llm_gateway.infra.database.catalog.last_good import LastGoodCatalog, LastGoodFile
from llm_gateway.infra.database.catalog.sealing import SealedSettings, open_pepper
from llm_gateway.infra.database.catalog.stored_catalog import StoredCatalog
from llm_gateway.infra.secrets.vault import Vault
from tests.fakes.stores import Store, opened, ring

OAUTH2 = ClientCredentials(token_url="https://login.example/token", client_id="me", scope="a b")


EVERYTHING: dict[str, Any] = {
    "strategy": "least_busy",
    "weights": {"zeta": 3, "alpha": 0},
    "fallbacks": ("b/c:free", "d"),
    "context_fallbacks": ("big",),
    "policy_fallbacks": ("mild",),
    "timeouts": Timeouts(connect=1.5, first_content=20, idle=5, total=60),
    "retry": RetryRules(
        max_retries=0,
        initial_backoff_ms=10,
        max_backoff_ms=20,
        backoff_factor=1.5,
        jitter=0,
        retry_cut=False,
    ),
    "affinity": "header:X-Session",
    "cache": CacheRules(is_enabled=False, ttl=5, is_shared=True),
}


@pytest.fixture
async def store(store_url: str | None, data_dir: Path) -> AsyncIterator[Store]:
    async with opened(store_url, data_dir) as store:
        yield store


async def test_the_file_has_every_field_of_every_resource(store: Store, data_dir: Path) -> None:
    await store.editor.create(ModelUpdate(name="m", **EVERYTHING))
    await store.editor.create(TaskTypeUpdate(name="t", models=("m",)))
    await store.add_provider(
        "x", secret=Secret("s"), oauth2=OAUTH2, stream_usage=True, probe_interval=1.5, is_enabled=False
    )
    await store.add_credential("me", cache=CacheRules())
    price = PriceUpdate(provider="x", upstream_model="m", prices={"input_tokens": "1"}, valid_until=10**15)
    await store.editor.create(price)
    await store.last_good.close()
    file = LastGoodFile(data_dir, store.address.shown)
    sealed = file.read_settings()
    assert sealed is not None
    saved = await LastGoodCatalog(file, sealed, store.decoder).load()
    assert saved == await store.catalog.load()


async def restarted_without_database(store: Store, data_dir: Path) -> Catalog | None:
    """Read the file as a new process would."""
    file = LastGoodFile(data_dir, store.address.shown)
    sealed = file.read_settings()
    if sealed is None:
        return None
    assert open_pepper(store.vault, sealed, ring())
    return await LastGoodCatalog(file, sealed, store.decoder).load()


async def test_what_is_served_is_saved_and_readable_without_the_database(
    store_url: str | None, data_dir: Path
) -> None:
    async with opened(store_url, data_dir) as store:
        await store.add_provider(
            "x", secret=Secret("sk-sealed"), model_mapping={"b": "1", "a": "2"}, weight=3
        )
        await store.add_credential("me", "sk-client", allowed_models=("a",), rate_limit=5)
        await store.last_good.close()
        saved = await restarted_without_database(store, data_dir)
        assert saved == await store.catalog.load()
        assert store.file.path.stat().st_mode & 0o777 == 0o600
        content = store.file.path.read_bytes()
        assert b"sk-sealed" not in content
        assert b"sk-client" not in content
        # Of a faulty row what was valid before is saved, and everything else as it is now.
        await store.sql("UPDATE providers SET api_base = 'nonsense'")
        await store.sql("UPDATE credentials SET is_enabled = false")
        await store.reloader.reload()
        await store.last_good.close()
        again = await restarted_without_database(store, data_dir)
        assert again is not None
        assert saved is not None
        assert again.providers == saved.providers
        assert [row.is_enabled for row in again.credentials] == [False]
        assert again.version == saved.version + 2
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


async def test_a_folder_that_cannot_be_written_is_one_warning(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_args: object) -> None:
        raise OSError(28, os.strerror(28))

    async with opened(None, data_dir) as store:
        await store.last_good.close()
        before = await store.last_good.load()
        monkeypatch.setattr(LastGoodFile, "write", full)
        warnings: list[str] = []
        sink = logger.add(warnings.append, level="WARNING", format="{message}")
        await store.add_provider("x")
        await store.last_good.close()
        logger.remove(sink)
        assert [str(store.file.path) in warning for warning in warnings] == [True]
        assert "OSError" in warnings[0]
        assert await store.last_good.load() == before, "the edit succeeded, and the older file stays"


def test_a_write_that_fails_leaves_the_older_file_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = LastGoodFile(tmp_path, "db")
    empty = StoredCatalog(version=1, providers=(), credentials=(), models=(), task_types=())
    sealed = SealedSettings(canary="c", pepper="p")
    file.write(empty, sealed)

    def fail(*_args: object) -> None:
        raise OSError(18, os.strerror(18))

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(OSError, match="18"):
        file.write(StoredCatalog(version=2, providers=(), credentials=(), models=(), task_types=()), sealed)
    assert (file.read_catalog(), file.read_settings()) == (empty, sealed)
    assert list(tmp_path.iterdir()) == [file.path]


def test_a_file_from_before_there_were_tenants_is_read(tmp_path: Path) -> None:
    sealed = SealedSettings(canary="c", pepper="p")
    head = {"format": 2, "version": 4, "database": "db", "sealed": msgspec.structs.asdict(sealed)}
    rows = {
        "version": 4,
        "providers": [[1, "p", "openai", "http://127.0.0.1:9", None, "{}", 1, 1, None, None, None, None]],
        "credentials": [[2, "c", base64.b64encode(b"hash").decode(), None, 5, 1, None]],
        "models": [],
        "task_types": [[3, "t", '["m"]']],
    }
    file = LastGoodFile(tmp_path, "db")
    file.path.write_bytes(msgspec.json.encode(head) + b"\n" + msgspec.json.encode(rows))
    stored = file.read_catalog()
    assert stored is not None
    catalog = CatalogDecoder(Vault(["key"]), {}).decode(stored)
    assert (catalog.version, catalog.faults, catalog.tenants, catalog.budgets) == (4, (), (), ())
    (credential,) = catalog.credentials
    assert credential == Credential(id=2, name="c", key_hash=b"hash", rate_limit=5, is_enabled=True)
    assert file.read_settings() == sealed
