"""The commands besides serving: migrate, back up, create a credential, set up the demo."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
from msgspec import UNSET

from llm_gateway.app.keys import find_keys, store_address
from llm_gateway.app.operations.preparing import make_data_dir, prepare
from llm_gateway.app.provider_kinds import provider_kinds
from llm_gateway.app.storage import Storage, backup_address, open_storage
from llm_gateway.core.secret import Secret
from llm_gateway.flow.config.editor import CatalogEditor
from llm_gateway.flow.config.reloader import Reloader, SnapshotHolder
from llm_gateway.flow.config.rows.credentials import CredentialUpdate
from llm_gateway.flow.config.rows.prices import PriceUpdate
from llm_gateway.flow.config.rows.providers import ProviderUpdate, StoredProvider
from llm_gateway.flow.ports.workers import LiveWorker, WorkerRegistry
from llm_gateway.infra.clock import SystemClock
from llm_gateway.infra.database.address import PostgresAddress
from llm_gateway.infra.database.migrating import (
    current_version,
    migrate_down_one,
)
from llm_gateway.infra.database.migrating import migrate_up as migrate_store_up
from llm_gateway.infra.database.usage.backup import create_backup
from llm_gateway.infra.price_book.shipped import shipped_price_book
from llm_gateway.infra.startup_error import StartupError
from llm_gateway.settings import Settings

DEMO_MODEL = "demo"
_DEMO_PROVIDER = "simulated"
_DEMO_PRICES = {"input_tokens": "2.5", "output_tokens": "10"}


class DemoAccess(msgspec.Struct, frozen=True):
    """What a first chat needs."""

    key: str
    model: str
    # Where a generated admin key is; None when ADMIN_KEY has it.
    admin_key_path: Path | None


async def migrate_up(settings: Settings) -> str:
    """Bring the schema to the newest version and return it; create the table of the backup database, if any."""
    make_data_dir(settings.data_dir)
    version = await migrate_store_up(store_address(settings))
    if (backup := backup_address(settings)) is not None:
        await create_backup(backup)
    return version


async def migrate_down(settings: Settings) -> str | None:
    """Undo the newest migration and return the version in force then, None for an empty schema."""
    return await migrate_down_one(store_address(settings))


async def schema_version(settings: Settings) -> str | None:
    """Return the schema's version, None for an empty schema."""
    return await current_version(store_address(settings))


def back_up(settings: Settings, target: Path) -> tuple[str, ...]:
    """Back up the SQLite database to `target`, and return what to tell the operator; raise StartupError."""
    # It brings SQLite's driver, which a gateway on PostgreSQL does not need.
    from llm_gateway.infra.database.backup import back_up_sqlite, pg_dump_command  # noqa: PLC0415

    address = store_address(settings)
    if isinstance(address, PostgresAddress):
        raise StartupError(
            "The database is PostgreSQL: back it up with its own tool, for example\n"
            + pg_dump_command(address, target)
        )
    back_up_sqlite(address.path, target)
    key_file = settings.data_dir / "secret_key"
    needed = [str(key_file)] if key_file.exists() else []
    needed += ["the value of SECRET_KEY"] if settings.secret_key is not None else []
    lines = [f"Backed up {address.path} to {target}."]
    if needed:
        lines.append(
            f"Keep {' and '.join(needed)} as well, in another place: without it no provider secret in the backup can "
            "be opened, and no client key is accepted."
        )
    return tuple(lines)


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
    """Create the demo's provider and credential unless they exist, and return how to use them."""
    prepared = await prepare(settings)
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
            # Nobody is paid for it, but costs and budgets are there to be seen.
            await editor.create(
                PriceUpdate(provider=_DEMO_PROVIDER, upstream_model=DEMO_MODEL, prices=_DEMO_PRICES)
            )
        if not key_file.exists():
            known = [one.id for one in (await storage.catalog.load()).credentials if one.name == DEMO_MODEL]
            if known:
                # Its key file was lost.
                made = await editor.rotate_credential(known[0], overlap=0)
            else:
                made = await editor.create(CredentialUpdate(name=DEMO_MODEL))
            descriptor = os.open(key_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            with os.fdopen(descriptor, "w") as file:
                file.write(_revealed(made.generated_key) + "\n")
    return DemoAccess(key_file.read_text().strip(), DEMO_MODEL, prepared.admin_key_path)


class _NoWorkers(WorkerRegistry):
    """The registry of a command, which has no workers: a running gateway follows the database by itself."""

    def publish_version(self, version: int) -> None:
        pass

    def announce_version(self, version: int) -> None:
        pass

    def announced_version(self) -> int:
        return 0

    def stale_workers(self, version: int) -> tuple[int, ...]:
        del version
        return ()

    def workers(self) -> tuple[LiveWorker, ...]:
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
        kinds=provider_kinds(),
        worker_registry=_NoWorkers(),
        last_good=storage.last_good,
        clock=SystemClock(),
        prices=shipped_price_book(),
    )
    return CatalogEditor(
        store=storage.rows,
        hasher=storage.hasher,
        reloader=reloader,
        kinds=provider_kinds(),
        operator_keys=storage.operator_keys,
    )


def _revealed(key: Secret | None) -> str:
    if key is None:
        message = "no key was generated"
        raise RuntimeError(message)
    return key.reveal()
