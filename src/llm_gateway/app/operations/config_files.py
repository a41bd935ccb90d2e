"""Imports a configuration file into the catalog, and exports the catalog as one."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from llm_gateway.app.keys import find_keys
from llm_gateway.app.operations.first_start import read_config
from llm_gateway.app.operations.preparing import prepare
from llm_gateway.app.provider_kinds import provider_kinds
from llm_gateway.app.storage import check_database_exists, open_storage
from llm_gateway.flow.config.files.contents import Finding
from llm_gateway.flow.config.files.gateway_writing import write_gateway_file
from llm_gateway.flow.config.importer import CatalogImporter, Existing, ImportResult, stored_rows
from llm_gateway.flow.config.rows.store import CatalogEdit
from llm_gateway.infra.clock import SystemClock
from llm_gateway.infra.price_book.shipped import shipped_price_book
from llm_gateway.infra.startup_error import StartupError
from llm_gateway.settings import Settings

_ACTOR = "import"


class ImportedFile(msgspec.Struct, frozen=True, kw_only=True):
    """What an import did, and what it could not take over."""

    result: ImportResult
    findings: tuple[Finding, ...]


class ExportedFile(msgspec.Struct, frozen=True, kw_only=True):
    """The catalog as a file, and what of it the file does not hold."""

    text: str
    findings: tuple[Finding, ...]


async def import_config(
    settings: Settings, path: Path, *, existing: Existing, dry_run: bool = False
) -> ImportedFile:
    """Store the rows of a file, all or none; raise StartupError, GatewayError with a line for each fault."""
    # Before the database is touched.
    contents = read_config(path, settings)
    await prepare(settings, fills=False)
    importer = CatalogImporter(provider_kinds(), shipped_price_book(), actor=_ACTOR)

    async def change(edit: CatalogEdit) -> ImportResult:
        result = await importer.apply(edit, contents, existing)
        # What is imported is the catalog: a start after this fills nothing into it.
        await edit.mark_filled(_ACTOR)
        return msgspec.structs.replace(result, dry_run=dry_run)

    async with open_storage(settings, find_keys(settings), SystemClock()) as storage:
        result = await storage.rows.edit(change, dry_run=dry_run)
    return ImportedFile(result=result, findings=contents.findings)


async def export_config(settings: Settings) -> ExportedFile:
    """Return the catalog as a file, without any secret; raise StartupError, GatewayError."""
    check_database_exists(settings)
    await prepare(settings, fills=False)
    async with open_storage(settings, find_keys(settings), SystemClock()) as storage:
        rows = await stored_rows(storage.rows)
        catalog = await storage.catalog.load()
    written = write_gateway_file(rows)
    findings = list(written.findings)
    for name, found in (
        ("credentials", catalog.credentials),
        ("tenants", catalog.tenants),
        ("projects", catalog.projects),
        ("budgets", catalog.budgets),
    ):
        if found:
            reason = (
                "the database has only hashes of keys" if name == "credentials" else "files hold no accounts"
            )
            findings.append(Finding(name, "dropped", f"{len(found)} not exported: {reason}"))
    return ExportedFile(text=written.text, findings=tuple(findings))


def write_new_file(path: Path, text: str) -> None:
    """Write a file that does not exist yet, readable by its owner only; raise StartupError."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise StartupError(f"{path} exists already, and is not overwritten.") from None
    except OSError as error:
        raise StartupError(f"{path} cannot be written: {error.strerror}.") from None
