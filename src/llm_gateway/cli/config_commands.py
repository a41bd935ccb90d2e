"""The commands that import a configuration file into the catalog, and export the catalog as one."""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from enum import StrEnum
from pathlib import Path
from types import ModuleType
from typing import Annotated

import typer

from llm_gateway.cli.running import maintenance, reports_failures

config = typer.Typer(help="Import and export providers, models and prices as a file.", no_args_is_help=True)


class ExistingRows(StrEnum):
    """What to do with rows that the catalog has already."""

    UPDATE = "update"
    SKIP = "skip"


@config.command("import")
@reports_failures
def import_file(
    file: Annotated[
        Path, typer.Argument(help="A file of the gateway's own format, or LiteLLM's config.yaml.")
    ],
    existing: Annotated[
        ExistingRows,
        typer.Option(help="Rows that exist: change the fields that FILE states, or leave them alone."),
    ] = ExistingRows.UPDATE,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be done, and store nothing.")
    ] = False,
) -> None:
    """Store the providers, models, prices and task types of FILE: all of them, or none if one is invalid."""
    _, settings = maintenance()
    made = asyncio.run(_files().import_config(settings, file, existing=existing.value, dry_run=dry_run))
    for finding in made.findings:
        print(finding)
    for row in made.result.rows:
        print(f"would have {row}" if dry_run and row.action in {"created", "updated"} else row)
    for warning in made.result.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    counts = Counter(row.action for row in made.result.rows)
    verdicts = Counter(finding.verdict for finding in made.findings)
    shown = ", ".join(f"{number} {what}" for what, number in (*counts.items(), *verdicts.items()))
    print(f"{'Dry run, nothing is stored: ' if dry_run else ''}{shown or 'the file has no rows'}.")


@config.command("export")
@reports_failures
def export_file(
    file: Annotated[
        Path | None, typer.Argument(help="The new file; an existing one is not overwritten. Default: output.")
    ] = None,
) -> None:
    """Write the providers, models, prices and task types to FILE, without any secret."""
    _, settings = maintenance()
    files = _files()
    made = asyncio.run(files.export_config(settings))
    if file is None:
        # UTF-8 whatever the terminal has.
        sys.stdout.buffer.write(made.text.encode())
        sys.stdout.buffer.flush()
    else:
        files.write_new_file(file, made.text)
    for finding in made.findings:
        print(f"warning: {finding}", file=sys.stderr)


def _files() -> ModuleType:
    from llm_gateway.app.operations import config_files  # noqa: PLC0415

    return config_files
