"""Every field of a provider is stored and read back, on both stores; its secret is sealed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from llm_gateway.core.config.cache_rules import CacheRules
from llm_gateway.core.config.providers import ClientCredentials
from llm_gateway.core.secret import Secret
from llm_gateway.flow.config.rows.credentials import CredentialUpdate
from llm_gateway.flow.config.rows.providers import ProviderUpdate, StoredProvider
from llm_gateway.infra.database.catalog import providers
from llm_gateway.infra.database.engine import reading
from tests.fakes.stores import Store, opened


@pytest.fixture
async def store(store_url: str | None, data_dir: Path) -> AsyncIterator[Store]:
    async with opened(
        store_url, data_dir, environ={"UPSTREAM_KEY": "sk-from-env", "ADMIN_KEY": "x"}
    ) as store:
        yield store


async def raw(store: Store, column: sa.Column[Any]) -> list[Any]:
    async with reading(store.engine) as connection:
        return list((await connection.execute(sa.select(column))).scalars())


async def test_neither_secret_nor_key_is_readable_at_rest(store: Store, data_dir: Path) -> None:
    await store.add_provider("main", secret=Secret("sk-the-provider-secret"))
    await store.add_credential("me", "sk-the-client-key")
    (sealed,) = await raw(store, providers.table.c.secret)
    assert "provider-secret" not in sealed
    await store.last_good.close()
    for file in data_dir.rglob("*"):
        content = file.read_bytes()
        assert b"provider-secret" not in content, file
        assert b"client-key" not in content, file


OAUTH2 = ClientCredentials(token_url="https://login.example/token", client_id="me", scope="a b")


async def test_optional_fields_of_providers_and_credentials_are_stored(store: Store) -> None:
    beside: dict[str, Any] = {
        "oauth2": OAUTH2,
        "api_version": "2024-10-21",
        "stream_usage": False,
        "probe_interval": 30.0,
    }
    await store.add_provider("x", secret=Secret("client-secret"), **beside)
    await store.add_provider("y", stream_usage=True)
    await store.add_credential("me", "sk-me", cache=CacheRules(ttl=9))
    catalog = await store.catalog.load()
    first, second = catalog.providers
    assert {name: getattr(first, name) for name in beside} == beside
    assert (second.oauth2, second.api_version, second.stream_usage, second.probe_interval) == (
        None, None, True, None,
    )  # fmt: skip
    assert catalog.credentials[0].cache == CacheRules(ttl=9)
    entry = (await store.rows.find(StoredProvider, "x")).value
    assert entry is not None
    assert {name: getattr(entry, name) for name in beside} == beside
    await store.editor.update("x", ProviderUpdate(oauth2=None, stream_usage=None))
    await store.editor.update(1, CredentialUpdate(cache=None))
    catalog = await store.catalog.load()
    assert (catalog.providers[0].oauth2, catalog.providers[0].stream_usage) == (None, None)
    assert catalog.providers[0].api_version == "2024-10-21"
    assert catalog.credentials[0].cache is None
