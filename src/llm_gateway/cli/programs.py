"""What `serve` and `demo` serve, and how they welcome the operator."""

from __future__ import annotations

import asyncio
import secrets
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from llm_gateway.cli.texts import demo_welcome, first_steps
from llm_gateway.settings import Settings

if TYPE_CHECKING:
    from llm_gateway.app import Application, DemoAccess


def _composition() -> ModuleType:
    """Import the gateway: that takes most of a start, and is worth it only when the port is free."""
    from llm_gateway import app  # noqa: PLC0415

    return app


class GatewayProgram:
    """The gateway itself."""

    def __init__(self, settings: Settings) -> None:
        """Serve by `settings`."""
        self._settings = settings
        self._admin_key_path: Path | None = None

    def prepare(self) -> None:
        """Set up the log, then make what a start needs; raise StartupError."""
        app = _composition()
        app.set_up_logging(self._settings.log_level, debug=self._settings.debug)
        self._admin_key_path = asyncio.run(app.prepare(self._settings)).admin_key_path

    def make_app(self) -> Application:
        """Make the ASGI application."""
        made: Application = _composition().create_app(self._settings)
        return made

    async def greet(self, app: Application, url: str) -> None:
        """Say what to do next while there is nothing to serve yet."""
        if await app.catalog_is_empty():
            print(first_steps(url, self._admin_key_path, "sk-" + secrets.token_urlsafe(24)), flush=True)


class DemoProgram(GatewayProgram):
    """The gateway with a provider that answers by itself, and a key to it."""

    def __init__(self, settings: Settings) -> None:
        """Serve by `demo_settings`."""
        super().__init__(settings)
        self._access: DemoAccess

    def prepare(self) -> None:
        """Make the demo's database, provider and credential where they are missing; raise StartupError."""
        app = _composition()
        app.set_up_logging(self._settings.log_level, debug=self._settings.debug)
        self._access = asyncio.run(app.seed_demo(self._settings))

    async def greet(self, app: Application, url: str) -> None:
        """Show the key, and how to use it."""
        del app
        print(demo_welcome(url, self._access.key, self._access.model), flush=True)


def demo_settings(settings: Settings) -> Settings:
    """Return `settings` for a demo that touches nothing but DATA_DIR/demo, and needs nothing else."""
    alone = {
        "data_dir": settings.data_dir / "demo",
        "db_url": None,
        "redis_url": None,
        "secret_key": None,
        "auto_migrate": True,
    }
    return settings.model_copy(update=alone)
