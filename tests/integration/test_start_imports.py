"""A worker that starts carries what serves requests, and nothing that most gateways never need."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

PROGRAM = """
import asyncio, json, sys
# What `serve` imports before there is an application.
import llm_gateway.cli, llm_gateway.cli.programs, llm_gateway.server.processes.serve
from llm_gateway.app import prepare
from llm_gateway.app.lifespan import running
from llm_gateway.cli.settings_loader import load_settings
from llm_gateway.surfaces.registry import SURFACES

async def start(settings):
    async with running(settings, SURFACES):
        print(json.dumps(sorted(sys.modules)))

settings = load_settings()
asyncio.run(prepare(settings))
asyncio.run(start(settings))
"""
# Each costs from half a megabyte to eight, in every worker.
UNNEEDED = {
    "aiohttp",
    "alembic",
    "fastapi",
    "httpx",
    "limits",
    "llm_gateway.admin",
    "llm_gateway.providers.anthropic.adapter",
    "llm_gateway.providers.gemini.adapter",
    "redis",
    "starlette",
    "tiktoken",
}
SQLITE = {"aiosqlite", "sqlalchemy.dialects.sqlite", "sqlite3"}


def test_a_start_imports_only_what_serves(store_url: str | None, data_dir: Path) -> None:
    settings = {"DATA_DIR": str(data_dir), "ADMIN_KEY": "admin-key-0123456789", "LOG_LEVEL": "error"}
    if store_url is not None:
        settings["DB_URL"] = store_url

    def imported() -> set[str]:
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM],
            env=os.environ | settings,
            cwd=data_dir,
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        return set(json.loads(done.stdout))

    # The first start migrates.
    assert "alembic" in imported()
    assert imported() & (UNNEEDED | (SQLITE if store_url is not None else set())) == set()
