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
from llm_gateway.app.client_apis import client_apis

async def chat(dispatcher):
    body = json.dumps({"model": "m", "messages": [{"role": "user", "content": "hello"}], "stream": True}).encode()
    scope = {"type": "http", "method": "POST", "path": "/v1/chat/completions", "headers": (), "client": ("::1", 1)}
    events = [{"type": "http.request", "body": body, "more_body": False}]
    sent = []

    async def receive():
        return events.pop() if events else await asyncio.Event().wait()

    async def send(message):
        sent.append(message)

    await dispatcher(scope, receive, send)
    assert sent[0]["status"] == 200, sent

async def start(settings):
    async with running(settings, client_apis(settings)) as parts:
        if settings.allow_anonymous:
            await chat(parts.dispatcher)
        print(json.dumps(sorted(sys.modules)))

settings = load_settings()
asyncio.run(prepare(settings))
asyncio.run(start(settings))
"""
# Each costs from half a megabyte to eight, in every worker.
UNNEEDED = {
    "aiohttp",
    "alembic",
    "click",
    "fastapi",
    "html.entities",
    "http.server",
    "httpx",
    "jinja2",
    "jwt",
    "limits",
    "llm_gateway.admin",
    "llm_gateway.console",
    "llm_gateway.infra.tracing",
    "llm_gateway.providers.anthropic.adapter",
    "llm_gateway.providers.gemini.adapter",
    "llm_gateway.resources",
    "markupsafe",
    "opentelemetry",
    "pydantic",
    "redis",
    "rich",
    "sqlalchemy.orm",
    "starlette",
    "tiktoken",
    "typer",
    "yaml",
}
SQLITE = {"aiosqlite", "sqlalchemy.dialects.sqlite", "sqlite3"}
POSTGRESQL = {"asyncpg", "sqlalchemy.dialects.postgresql"}


def imported(data_dir: Path, **settings: str) -> set[str]:
    """Return the modules of a gateway that has started."""
    given = {"DATA_DIR": str(data_dir), "ADMIN_KEY": "admin-key-0123456789", "LOG_LEVEL": "error"} | settings
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env=os.environ | given,
        cwd=data_dir,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    # Beside it there may be lines of the access log.
    return set(json.loads(next(line for line in done.stdout.splitlines() if line.startswith("["))))


def test_a_start_imports_only_what_serves(store_url: str | None, data_dir: Path) -> None:
    settings = {} if store_url is None else {"DB_URL": store_url}
    # The first start migrates.
    assert "alembic" in imported(data_dir, **settings)
    needless = UNNEEDED | (POSTGRESQL if store_url is None else SQLITE)
    assert imported(data_dir, **settings) & needless == set()


def test_chats_import_no_more(data_dir: Path) -> None:
    catalog = data_dir / "config.yaml"
    catalog.write_text("providers:\n  made-up:\n    provider_type: simulated\n    model_mapping: {}\n")
    settings = {"ALLOW_ANONYMOUS": "true", "CONFIG_FILE": str(catalog)}
    # The first start migrates, and reads the file.
    imported(data_dir, **settings)
    assert imported(data_dir, **settings) & UNNEEDED == set()


def test_a_client_api_that_is_off_is_not_imported(tmp_path: Path) -> None:
    def surfaces(served: str) -> set[str]:
        found = imported(tmp_path, SURFACES=served)
        return {
            name for name in found if name.startswith("llm_gateway.surfaces.") and name.endswith(".routes")
        }

    assert surfaces("openai,ping") == {
        "llm_gateway.surfaces.openai.routes",
        "llm_gateway.surfaces.ping.routes",
    }
    assert surfaces("query") == {"llm_gateway.surfaces.query.routes"}
