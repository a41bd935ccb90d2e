"""Fills the catalog at the first start with a database, from CONFIG_FILE or else from the environment."""

from __future__ import annotations

from pathlib import Path

from loguru import logger

from llm_gateway.app.keys import find_keys, store_address
from llm_gateway.app.provider_kinds import provider_kinds
from llm_gateway.app.storage import open_storage
from llm_gateway.core.errors import Conflict, Unprocessable
from llm_gateway.flow.config.files.contents import FileContents
from llm_gateway.flow.config.files.nodes import MOST_BYTES, InvalidConfigFile
from llm_gateway.flow.config.files.reading import read_config_file
from llm_gateway.flow.config.importer import CatalogImporter, ImportResult
from llm_gateway.flow.config.rows.store import CatalogEdit
from llm_gateway.infra.clock import SystemClock
from llm_gateway.infra.database.first_fill import was_filled
from llm_gateway.infra.price_book.shipped import shipped_price_book
from llm_gateway.infra.secrets.env_references import OWN_VARIABLES
from llm_gateway.infra.startup_error import StartupError
from llm_gateway.settings import Settings
from llm_gateway.settings.variables import named_variables

_ACTOR = "first start"
_EXISTING = "existing"


async def fill_catalog(settings: Settings) -> None:
    """Fill the catalog unless that was done before, or it is in use; raise StartupError, StoreUnavailable.

    All or nothing, once: of machines that start together one fills it, and the others find it filled.
    """
    if await was_filled(store_address(settings)):
        return
    source = "environment" if settings.config_file is None else "CONFIG_FILE"
    contents = _contents(settings)
    importer = CatalogImporter(provider_kinds(), shipped_price_book(), actor=_ACTOR)

    async def fill(edit: CatalogEdit) -> ImportResult | None:
        if await edit.first_fill() is not None:
            return None
        catalog = await edit.catalog()
        rows = (*catalog.providers, *catalog.models, *catalog.prices, *catalog.task_types)
        if rows or await edit.had_providers():
            await edit.mark_filled(_EXISTING)
            logger.warning("The catalog is not filled from {}: it is in use already.", _shown(source))
            return None
        result = await importer.apply(edit, contents)
        await edit.mark_filled(source)
        return result

    async with open_storage(settings, find_keys(settings), SystemClock()) as storage:
        try:
            result = await storage.rows.edit(fill)
        except (Conflict, Unprocessable) as error:
            raise StartupError(_explain(settings, error.message)) from None
    if result is not None:
        _report(settings, source, contents, result)


def read_config(path: Path, settings: Settings) -> FileContents:
    """Return what a configuration file holds; raise StartupError, which names the file, line and field."""
    try:
        with path.open("rb") as file:
            data = file.read(MOST_BYTES + 1)
        return read_config_file(
            data, provider_kinds(), environ=named_variables(settings), forbidden_variables=OWN_VARIABLES
        )
    except OSError as error:
        raise StartupError(f"{path} cannot be read: {error.strerror}.") from None
    except InvalidConfigFile as error:
        raise StartupError("\n".join(f"{path}, {line}" for line in str(error).splitlines())) from None


def _contents(settings: Settings) -> FileContents:
    if settings.config_file is None:
        # Imported on demand, as all of this is: most starts fill nothing.
        from llm_gateway.app.operations.environment_rows import environment_contents  # noqa: PLC0415

        return environment_contents(settings, provider_kinds())
    try:
        return read_config(settings.config_file, settings)
    except StartupError as error:
        raise StartupError("\n".join(f"CONFIG_FILE={line}" for line in str(error).splitlines())) from None


def _explain(settings: Settings, message: str) -> str:
    if settings.config_file is None:
        return message
    return "\n".join(f"CONFIG_FILE={settings.config_file}, {line}" for line in message.splitlines())


def _shown(source: str) -> str:
    return "the environment" if source == "environment" else source


def _report(settings: Settings, source: str, contents: FileContents, result: ImportResult) -> None:
    """Log what was done: names, and no values."""
    logger.info("First start with this database: the catalog is filled from {}.", _shown(source))
    for row in result.rows:
        logger.info("First start: {}.", row)
    for finding in contents.findings:
        if finding.verdict != "mapped":
            logger.warning("First start: {}.", finding)
    for warning in result.warnings:
        logger.warning("First start: {}.", warning)
    if settings.config_file is None:
        from llm_gateway.app.operations.environment_rows import unused_addresses  # noqa: PLC0415

        for name in unused_addresses(settings):
            key = name.replace("_BASE_URL", "_API_KEY")
            logger.warning("First start: {} is set, but makes no provider without {}.", name, key)
