"""What the command line does besides serving: prepare a start, migrate, make a credential, set up the demo."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from loguru import logger
from msgspec import UNSET

from llm_gateway.app.storage import Storage, find_keys, open_storage, store_address
from llm_gateway.core.errors import GatewayError
from llm_gateway.core.secret import Secret
from llm_gateway.flow.config.editor import CatalogEditor
from llm_gateway.flow.config.reloader import Reloader, SnapshotHolder
from llm_gateway.flow.config.rows.credentials import CredentialUpdate
from llm_gateway.flow.config.rows.providers import ProviderUpdate, StoredProvider
from llm_gateway.infra.clock import SystemClock
from llm_gateway.infra.database.migrating import (
    check_schema,
    current_version,
    migrate_down_one,
)
from llm_gateway.infra.database.migrating import migrate_up as migrate_store_up
from llm_gateway.infra.startup_error import StartupError
from llm_gateway.providers.registry import KINDS
from llm_gateway.settings import Settings

DEMO_MODEL = "demo"
_DEMO_PROVIDER = "simulated"


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """What a start found or made."""

    # Where the admin key lies, None when it came from ADMIN_KEY.
    admin_key_path: Path | None


@dataclass(frozen=True, slots=True)
class DemoAccess:
    """What a newcomer needs for the first chat."""

    key: str
    model: str


async def prepare(settings: Settings) -> Prepared:
    """Make the data folder and the keys, and bring the schema up; raise StartupError with what to mend."""
    make_data_dir(settings.data_dir)
    keys = find_keys(settings)
    if keys.ring.warning is not None:
        logger.warning("{}", keys.ring.warning)
    address = store_address(settings)
    try:
        if settings.auto_migrate:
            await migrate_store_up(address)
        else:
            await check_schema(address)
    except GatewayError as error:
        logger.error("The schema is not checked: {}", error.message)
    return Prepared(admin_key_path=keys.admin.path)


def make_data_dir(path: Path) -> None:
    """Make the folder that everything is written to, for its owner alone; raise StartupError."""
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        message = (
            f"DATA_DIR={path} cannot be made: {error.strerror}. Set DATA_DIR to a folder you may write to."
        )
        raise StartupError(message) from None
    if not os.access(path, os.W_OK | os.X_OK):
        message = f"DATA_DIR={path} is not writable. Set DATA_DIR to a folder you may write to."
        raise StartupError(message)


async def migrate_up(settings: Settings) -> str:
    """Bring the schema to the newest version and return it."""
    make_data_dir(settings.data_dir)
    return await migrate_store_up(store_address(settings))


async def migrate_down(settings: Settings) -> str | None:
    """Undo the newest migration and return the version in force then, None for an empty schema."""
    return await migrate_down_one(store_address(settings))


async def schema_version(settings: Settings) -> str | None:
    """Return the schema's version, None for an empty schema."""
    return await current_version(store_address(settings))


async def create_credential(
    settings: Settings,
    name: str,
    *,
    key: str | None = None,
    allowed_models: tuple[str, ...] | None = None,
    rate_limit: int | None = None,
) -> str:
    """Store a credential and return its key; raise StartupError, GatewayError."""
    await prepare(settings)
    update = CredentialUpdate(
        name=name,
        key=UNSET if key is None else Secret(key),
        allowed_models=allowed_models,
        rate_limit=rate_limit,
    )
    async with open_storage(settings, find_keys(settings), SystemClock()) as storage:
        made = await _editor(storage).create(update)
    return key or _revealed(made.generated_key)


async def seed_demo(settings: Settings) -> DemoAccess:
    """Make the demo's provider and credential where they are not there yet, and return the way in."""
    await prepare(settings)
    key_file = settings.data_dir / "demo_key"
    async with open_storage(settings, find_keys(settings), SystemClock()) as storage:
        editor = _editor(storage)
        if (await storage.rows.find(StoredProvider, _DEMO_PROVIDER)).value is None:
            await editor.create(
                ProviderUpdate(
                    provider_key=_DEMO_PROVIDER,
                    provider_type="simulated",
                    api_base="simulated://demo?latency_ms=200&chunk_ms=40",
                    model_mapping={DEMO_MODEL: DEMO_MODEL},
                )
            )
        if not key_file.exists():
            made = await editor.create(CredentialUpdate(name="demo"))
            descriptor = os.open(key_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            with os.fdopen(descriptor, "w") as file:
                file.write(_revealed(made.generated_key) + "\n")
    return DemoAccess(key_file.read_text().strip(), DEMO_MODEL)


class _NoWorkers:
    """The board of a command: it serves nobody, and a running gateway follows the database by itself."""

    def publish_version(self, version: int) -> None:
        pass

    def announce_version(self, version: int) -> None:
        pass

    def announced_version(self) -> int:
        return 0

    def stale_workers(self, version: int) -> tuple[int, ...]:
        del version
        return ()

    def try_enter(self, limit: int) -> bool:
        return limit > 0

    def leave(self) -> None:
        pass

    def active(self) -> int:
        return 0


def _editor(storage: Storage) -> CatalogEditor:
    reloader = Reloader(
        holder=SnapshotHolder(),
        source=storage.catalog,
        kinds=KINDS,
        worker_registry=_NoWorkers(),
        last_good=storage.last_good,
        clock=SystemClock(),
    )
    return CatalogEditor(store=storage.rows, hasher=storage.hasher, reloader=reloader, kinds=KINDS)


def _revealed(key: Secret | None) -> str:
    if key is None:
        message = "no key was made"
        raise RuntimeError(message)
    return key.reveal()
