"""The programs behind `serve` and `demo`: preparation, application and first output."""

from __future__ import annotations

import asyncio
import secrets
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from llm_gateway.cli.texts import demo_welcome, first_steps
from llm_gateway.settings import Settings
from llm_gateway.settings.first_start import FirstStartSettings
from llm_gateway.settings.reading import setting_names

if TYPE_CHECKING:
    from llm_gateway.app import Application, DemoAccess


def _import_app() -> ModuleType:
    """Import the gateway. This takes most of the start time, so it waits until the port is known to be free."""
    from llm_gateway import app  # noqa: PLC0415

    return app


def _start_logging(settings: Settings) -> ModuleType:
    """Set up logging so that a reader of the log that stalls cannot stop the gateway; return the gateway."""
    app = _import_app()
    app.standard_streams.protect()
    app.set_up_logging(settings.log_level, debug=settings.debug, form=settings.log_format)
    return app


class GatewayProgram:
    """The gateway with the configuration from its database."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._admin_key_path: Path | None = None

    def prepare(self) -> None:
        """Set up logging, then the database and the keys; raise StartupError."""
        app = _start_logging(self._settings)
        app.warn_of_client_apis(self._settings)
        self._admin_key_path = asyncio.run(app.prepare(self._settings)).admin_key_path

    def make_app(self) -> Application:
        made: Application = _import_app().create_app(self._settings)
        return made

    async def greet(self, app: Application, url: str) -> None:
        """Log what waits for another database, and print the first steps if no configuration exists yet."""
        app.report_other_journals()
        if app.catalog_is_empty():
            key, has_console = "sk-" + secrets.token_urlsafe(24), self._settings.console == "on"
            print(first_steps(url, self._admin_key_path, key, has_console=has_console), flush=True)


class DemoProgram(GatewayProgram):
    """The gateway with a simulated provider and a credential for it."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._access: DemoAccess

    def prepare(self) -> None:
        """Create the demo's database, provider and credential unless they exist; raise StartupError."""
        app = _start_logging(self._settings)
        app.warn_of_client_apis(self._settings)
        self._access = asyncio.run(app.seed_demo(self._settings))

    async def greet(self, app: Application, url: str) -> None:
        del app
        access, has_console = self._access, self._settings.console == "on"
        text = demo_welcome(url, access.admin_key_path, access.key, access.model, has_console=has_console)
        print(text, flush=True)


def demo_settings(settings: Settings) -> Settings:
    """Return `settings` changed so that the demo reads and writes nothing outside DATA_DIR/demo."""
    unset: dict[str, Any] = dict.fromkeys(setting_names(FirstStartSettings))
    return replace(
        settings,
        **unset,
        data_dir=settings.data_dir / "demo",
        db_url=None,
        backup_db_url=None,
        csv_fallback_dir=None,
        redis_url=None,
        secret_key=None,
        auto_migrate=True,
    )
