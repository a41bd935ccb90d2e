"""Brings the database to what a start needs: its schema, the rows of a new catalog, the backup's table."""

from __future__ import annotations

from loguru import logger

from llm_gateway.app.keys import Keys, store_address
from llm_gateway.app.provider_kinds import provider_kinds
from llm_gateway.app.storage import backup_address, has_saved_copy
from llm_gateway.core.errors import GatewayError
from llm_gateway.infra.database.address import StoreAddress
from llm_gateway.infra.database.engine import import_driver
from llm_gateway.infra.database.migrating import check_schema, migrate_up
from llm_gateway.infra.database.usage.backup import create_backup
from llm_gateway.settings import Settings

# Characters; a warning says so.
_SHORTEST_VIEWER_KEY = 16


async def prepare_store(settings: Settings, keys: Keys, *, fills: bool) -> None:
    """Do what `prepare` does with the database."""
    address, backup = store_address(settings), backup_address(settings)
    # Before the workers are forked, so that they share what is imported.
    import_driver(address)
    provider_kinds()
    if keys.ring.warning is not None:
        logger.warning("{}", keys.ring.warning)
    if keys.viewer is not None and len(keys.viewer.reveal()) < _SHORTEST_VIEWER_KEY:
        logger.warning(
            "VIEWER_KEY has fewer than {} characters, so that it can be guessed. Set a longer one.",
            _SHORTEST_VIEWER_KEY,
        )
    if settings.mongo_uri is not None:
        logger.warning("MONGO_URI is set, but not used: usage records go to the database that DB_URL names.")
    if settings.db_name is not None:
        logger.warning("DB_NAME is set, but not used: DB_URL ends in the name of the database.")
    try:
        if settings.auto_migrate:
            await migrate_up(address)
        else:
            await check_schema(address)
        if fills and settings.fills_catalog:
            # Imported on demand: it brings what reads files, which a gateway without such settings never needs.
            from llm_gateway.app.operations.first_start import fill_catalog  # noqa: PLC0415

            await fill_catalog(settings)
    except GatewayError as error:
        if not has_saved_copy(settings):
            raise
        logger.error("The schema is not checked: {}", error.message)
    if backup is not None and settings.auto_migrate:
        await _create_backup_or_warn(backup)


async def _create_backup_or_warn(backup: StoreAddress) -> None:
    try:
        await create_backup(backup)
    except GatewayError as error:
        # Its table is created later, when it is first needed.
        logger.warning("The backup database (BACKUP_DB_URL) cannot be used: {}", error.message)
