"""The commands, their options, and the output of their failures."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from llm_gateway import __version__
from llm_gateway.cli.config_commands import config
from llm_gateway.cli.running import maintenance, reports_failures
from llm_gateway.cli.serving import demo, serve
from llm_gateway.cli.usage_commands import usage

# Each command imports what it needs, so that `--help` and an invalid setting do not wait for the whole gateway.

_cli = typer.Typer(
    help="An OpenAI-compatible LLM gateway. Settings are environment variables; see docs/settings.md.",
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
_migrate = typer.Typer(help="Upgrade or downgrade the database schema.", no_args_is_help=True)
_credential = typer.Typer(help="Create keys for clients.", no_args_is_help=True)
_cli.add_typer(_migrate, name="migrate")
_cli.add_typer(_credential, name="credential")
_cli.add_typer(config, name="config")
_cli.add_typer(usage, name="usage")


def run() -> None:
    """Run the command that the process was given, and end the process with its exit code."""
    _cli(prog_name="llm-gateway")


def _show_version(asked: bool) -> None:
    if asked:
        print(f"llm-gateway {__version__}")
        raise typer.Exit


@_cli.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    del version


_cli.command()(serve)
_cli.command()(demo)


@_cli.command()
@reports_failures
def backup(
    file: Annotated[Path, typer.Argument(help="The new file; an existing one is not overwritten.")],
) -> None:
    """Back up the SQLite database to FILE while the gateway runs; of PostgreSQL, name the command that does it."""
    app, settings = maintenance()
    for line in app.back_up(settings, file):
        print(line)


@_migrate.command("up")
@reports_failures
def migrate_up() -> None:
    """Upgrade the schema to the newest version."""
    app, settings = maintenance()
    print(asyncio.run(app.migrate_up(settings)))


@_migrate.command("down")
@reports_failures
def migrate_down() -> None:
    """Downgrade the schema by one version; the data that this version added is lost."""
    app, settings = maintenance()
    print(asyncio.run(app.migrate_down(settings)) or "empty")


@_migrate.command("version")
@reports_failures
def migrate_version() -> None:
    """Print the schema version."""
    app, settings = maintenance()
    print(asyncio.run(app.schema_version(settings)) or "empty")


@_credential.command("create")
@reports_failures
def credential_create(
    name: Annotated[str, typer.Option(help="Name of the credential, as usage records and the log show it.")],
    model: Annotated[
        list[str] | None,
        typer.Option(
            help="Model that it may use, with * and ? as wildcards; repeatable. Default: all models."
        ),
    ] = None,
    rate_limit: Annotated[
        int | None, typer.Option(min=0, help="Requests per second; 0 blocks. Default: no limit.")
    ] = None,
    key: Annotated[str | None, typer.Option(help="The key. Default: a generated key.")] = None,
) -> None:
    """Create a credential and print its key; the key cannot be shown again."""
    app, settings = maintenance()
    models = None if not model else tuple(model)
    made = app.create_credential(settings, name, key=key, allowed_models=models, rate_limit=rate_limit)
    print(asyncio.run(made))
