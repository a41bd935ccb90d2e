"""Fills a gateway's catalog with thousands of rows by SQL, since the admin API validates all of it at every edit."""

from __future__ import annotations

import asyncio
import secrets
import time
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from llm_gateway.infra.database.address import embedded_address, read_address
from llm_gateway.infra.database.catalog.credentials import table as credentials
from llm_gateway.infra.database.catalog.providers import table as providers
from llm_gateway.infra.database.engine import make_engine

# How many of the added providers serve each of their models.
_PROVIDERS_PER_MODEL = 10
_ROWS_AT_ONCE = 500


def fill_catalog(db_url: str | None, data_dir: Path, count: int) -> None:
    """Add `count` providers, of models that no load uses, and `count` credentials. The gateway must be stopped."""
    asyncio.run(_fill(db_url, data_dir, count))


async def _fill(db_url: str | None, data_dir: Path, count: int) -> None:
    engine = make_engine(read_address(db_url) if db_url else embedded_address(data_dir), command_timeout=60)
    try:
        for start in range(0, count, _ROWS_AT_ONCE):
            numbers = range(start, min(start + _ROWS_AT_ONCE, count))
            async with engine.begin() as connection:
                await connection.execute(sa.insert(providers), [_provider(number) for number in numbers])
                await connection.execute(sa.insert(credentials), [_credential(number) for number in numbers])
    finally:
        await engine.dispose()


def _provider(number: int) -> dict[str, Any]:
    model = f"other-{number // _PROVIDERS_PER_MODEL}"
    return {
        "provider_key": f"other-{number}",
        "provider_type": "openai",
        # The discard port; nothing is sent to it.
        "api_base": "http://127.0.0.1:9/v1",
        "secret": None,
        "model_mapping": {model: "other"},
        "weight": 1 + number % 3,
        "is_enabled": True,
        **_times(),
    }


def _credential(number: int) -> dict[str, Any]:
    return {
        "name": f"other-{number}",
        "key_hash": secrets.token_bytes(32),
        "key_prefix": "sk-other",
        "allowed_models": None,
        "rate_limit": 100,
        "is_enabled": True,
        **_times(),
    }


def _times() -> dict[str, int]:
    now = time.time_ns() // 1000
    return {"created_at": now, "updated_at": now}
