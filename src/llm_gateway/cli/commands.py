"""The commands, their options, and how their failures are told."""

from __future__ import annotations

import asyncio
import gc
import sys
from collections.abc import Callable
from functools import wraps
from typing import Annotated, Any, ParamSpec

import typer

from llm_gateway import __version__

# Each command imports what it needs: `--help` and a wrong setting should not wait for the whole gateway.

_P = ParamSpec("_P")

# 128 + SIGINT, as shells have it.
_INTERRUPTED = 130

_cli = typer.Typer(
    help="An OpenAI-compatible LLM gateway. Settings are environment variables, see docs/settings.md.",
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
_migrate = typer.Typer(help="Bring the database's schema up to date, or one step back.", no_args_is_help=True)
_credential = typer.Typer(help="Make keys for clients.", no_args_is_help=True)
_cli.add_typer(_migrate, name="migrate")
_cli.add_typer(_credential, name="credential")


def main() -> None:
    """Run the command line and end the process with its exit code."""
    _cli(prog_name="llm-gateway")


def _tells_failures(command: Callable[_P, int | None]) -> Callable[_P, None]:
    """Turn what an operator can mend into one line on standard error and an exit code."""

    @wraps(command)
    def telling(*args: _P.args, **kwargs: _P.kwargs) -> None:
        from llm_gateway.cli.failures import explain  # noqa: PLC0415

        try:
            code = command(*args, **kwargs) or 0
        except KeyboardInterrupt:
            code = _INTERRUPTED
        except Exception as error:
            explained = explain(error)
            if explained is None:
                raise
            code, lines = explained
            for line in lines:
                print(f"llm-gateway: {line}", file=sys.stderr)
        raise typer.Exit(code)

    return telling


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


@_cli.command()
@_tells_failures
def serve() -> int:
    """Serve on HOST and PORT until told to stop (SIGTERM, Ctrl-C)."""
    from llm_gateway.cli.programs import GatewayProgram  # noqa: PLC0415
    from llm_gateway.cli.reading_settings import read_settings  # noqa: PLC0415
    from llm_gateway.server.processes.serve import serve as serve_program  # noqa: PLC0415

    settings = read_settings()
    return serve_program(settings, GatewayProgram(settings))


@_cli.command()
@_tells_failures
def demo() -> int:
    """Serve a simulated provider out of DATA_DIR/demo: a first chat with no API key."""
    from llm_gateway.cli.programs import DemoProgram, demo_settings  # noqa: PLC0415
    from llm_gateway.cli.reading_settings import read_settings  # noqa: PLC0415
    from llm_gateway.server.processes.serve import serve as serve_program  # noqa: PLC0415

    settings = demo_settings(read_settings())
    return serve_program(settings, DemoProgram(settings))


@_migrate.command("up")
@_tells_failures
def migrate_up() -> None:
    """Bring the schema to the newest version."""
    app, settings = _maintenance()
    print(asyncio.run(app.migrate_up(settings)))


@_migrate.command("down")
@_tells_failures
def migrate_down() -> None:
    """Take the schema one step back; what that step had added is lost."""
    app, settings = _maintenance()
    print(asyncio.run(app.migrate_down(settings)) or "empty")


@_migrate.command("version")
@_tells_failures
def migrate_version() -> None:
    """Show the schema's version."""
    app, settings = _maintenance()
    print(asyncio.run(app.schema_version(settings)) or "empty")


@_credential.command("create")
@_tells_failures
def credential_create(
    name: Annotated[str, typer.Option(help="Whose it is; usage and the log call it that.")],
    model: Annotated[
        list[str] | None,
        typer.Option(help="A model it may use, * and ? match any; repeatable. Default: all."),
    ] = None,
    rate_limit: Annotated[
        int | None, typer.Option(min=0, help="Requests per second; 0 blocks. Default: no limit.")
    ] = None,
    key: Annotated[str | None, typer.Option(help="The key itself. Default: one is made.")] = None,
) -> None:
    """Make a credential and show its key, once."""
    app, settings = _maintenance()
    models = None if not model else tuple(model)
    made = app.create_credential(settings, name, key=key, allowed_models=models, rate_limit=rate_limit)
    print(asyncio.run(made))


def _maintenance() -> tuple[Any, Any]:
    """Return the composition root and the settings, with the log set up."""
    from llm_gateway.cli.reading_settings import read_settings  # noqa: PLC0415

    settings = read_settings()
    # A short command makes next to no garbage, and its imports make many objects to look through.
    gc.disable()
    from llm_gateway import app  # noqa: PLC0415

    app.set_up_logging(settings.log_level, debug=settings.debug)
    return app, settings
