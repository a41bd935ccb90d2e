"""`llm-gateway usage ...`: commands about usage rows and what they cost."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from llm_gateway.cli.running import maintenance, reports_failures

usage = typer.Typer(help="Export, compare and correct what requests used and cost.", no_args_is_help=True)

_Since = Annotated[str | None, typer.Option(help="Requests from this time on: ISO 8601, or Unix seconds.")]
_Until = Annotated[str | None, typer.Option(help="Requests before this time.")]
_Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@usage.command("export")
@reports_failures
def export_usage(
    form: Annotated[str, typer.Option("--format", help="csv, jsonl or focus.")] = "csv",
    output: Annotated[Path | None, typer.Option(help="The file. Default: standard output.")] = None,
    since: _Since = None,
    until: _Until = None,
    provider: Annotated[str | None, typer.Option(help="Only of this provider.")] = None,
    credential: Annotated[str | None, typer.Option(help="Only of this credential.")] = None,
    tenant: Annotated[str | None, typer.Option(help="Only of this tenant.")] = None,
    time_zone: Annotated[str, typer.Option(help="Whose days FOCUS lines are for.")] = "UTC",
) -> None:
    """Write usage rows as CSV or JSON lines, or costs by day, credential, model and meter as FOCUS."""
    if form not in {"csv", "jsonl", "focus"}:
        raise typer.BadParameter(f"{form!r} is not a format; use csv, jsonl or focus", param_hint="--format")
    wanted = _wanted(since, until, provider=provider, credential=credential, tenant=tenant)
    zone = _zone(time_zone)
    app, settings = maintenance()

    def write(target: Any) -> int:  # noqa: ANN401 - a binary file
        unpriced: int = asyncio.run(_billing().export_usage(settings, form, wanted, zone, target))
        return unpriced

    if output is None:
        unpriced = write(sys.stdout.buffer)
    else:
        # A file of this name is complete or as it was.
        part = output.with_name(f".{output.name}.part")
        try:
            with part.open("wb") as file:
                unpriced = write(file)
            part.replace(output)
        except OSError as error:
            raise app.StartupError(f"{output} cannot be written: {error.strerror}") from None
        finally:
            part.unlink(missing_ok=True)
    if unpriced:
        print(f"{unpriced} attempts of unknown cost are not in the file.", file=sys.stderr)


@usage.command("summary")
@reports_failures
def summary(
    since: _Since = None,
    until: _Until = None,
    group_by: Annotated[
        str,
        typer.Option(
            help="Comma-separated: credential, tenant, project, provider, model; "
            "quarter (of an hour), hour, day or month."
        ),
    ] = "",
    time_zone: Annotated[
        str | None, typer.Option(help="Whose hours, days and months: an IANA name. Default: TIME_ZONE.")
    ] = None,
    credential: Annotated[str | None, typer.Option(help="Only of this credential.")] = None,
    tenant: Annotated[str | None, typer.Option(help="Only of this tenant.")] = None,
    project: Annotated[str | None, typer.Option(help="Only of this project.")] = None,
    provider: Annotated[str | None, typer.Option(help="Only of this provider.")] = None,
    model: Annotated[str | None, typer.Option(help="Only of this public model.")] = None,
    as_json: _Json = False,
) -> None:
    """Add up requests, tokens, cost and times, of what the database holds."""
    import msgspec  # noqa: PLC0415

    from llm_gateway.cli.summary_texts import summary_lines  # noqa: PLC0415

    filters = {
        "credential": credential,
        "tenant": tenant,
        "project": project,
        "provider": provider,
        "model": model,
    }
    _, settings = maintenance()
    asked = _summaries().summarize_usage(
        settings, since=since, until=until, group_by=group_by, time_zone=time_zone, filters=filters
    )
    shown = asyncio.run(asked)
    as_text = msgspec.json.format(msgspec.json.encode(shown)).decode()
    for line in [as_text] if as_json else summary_lines(shown):
        print(line)


@usage.command("rollup")
@reports_failures
def rollup(since: _Since = None, until: _Until = None) -> None:
    """Add up usage rows anew, day by day (UTC): rows from before there were summaries, or changed by hand."""
    first, last = _moment("--since", since), _moment("--until", until)
    _, settings = maintenance()
    asyncio.run(_summaries().rebuild_rollups(settings, since=first, until=last, report=print))


@usage.command("reconcile")
@reports_failures
def reconcile(
    file: Annotated[Path, typer.Argument(help="A cost export of OpenAI or Anthropic, or a FOCUS file.")],
    form: Annotated[
        str | None, typer.Option("--format", help="openai, anthropic or focus. Default: by the content.")
    ] = None,
    provider: Annotated[
        list[str] | None,
        typer.Option(help="Provider that the bill is about; repeatable. Default: the biller's."),
    ] = None,
    tolerance: Annotated[
        float, typer.Option(min=0, max=1, help="Difference that is no finding: 0.01 is 1 %.")
    ] = 0.0,
    as_json: _Json = False,
) -> int:
    """Compare a provider's bill with the usage rows, by day and model; exit with 1 if they differ."""
    from decimal import Decimal  # noqa: PLC0415

    if form not in {None, "openai", "anthropic", "focus"}:
        raise typer.BadParameter(
            f"{form!r} is not a format; use openai, anthropic or focus", param_hint="--format"
        )
    _, settings = maintenance()
    found = asyncio.run(
        _billing().reconcile_bill(
            settings, file, form=form, providers=tuple(provider or ()), tolerance=Decimal(str(tolerance))
        )
    )
    from llm_gateway.cli.billing_texts import reconciliation_json, reconciliation_lines  # noqa: PLC0415

    for line in [reconciliation_json(found)] if as_json else reconciliation_lines(found):
        print(line)
    return int(any(one.state != "matched" for one in found.findings))


@usage.command("reprice")
@reports_failures
def reprice(
    since: _Since = None,
    until: _Until = None,
    provider: Annotated[str | None, typer.Option(help="Only of this provider.")] = None,
    model: Annotated[str | None, typer.Option(help="Only of this public model.")] = None,
    apply: Annotated[
        bool, typer.Option("--apply", help="Store the new costs. Default: only show them.")
    ] = False,
    as_json: _Json = False,
) -> None:
    """Compute the costs of stored requests again, by the prices in force now, and show what changes."""
    wanted = _wanted(since, until, provider=provider, model=model)
    _, settings = maintenance()
    report = asyncio.run(_billing().reprice_usage(settings, wanted, apply=apply))
    from llm_gateway.cli.billing_texts import reprice_json, reprice_lines  # noqa: PLC0415

    for line in [reprice_json(report)] if as_json else reprice_lines(report, applied=apply):
        print(line)


@usage.command("spool")
@reports_failures
def usage_spool(
    ship: Annotated[
        bool,
        typer.Option("--ship", help="Ship what waits to the database of DB_URL, or wait for the gateway."),
    ] = False,
    timeout: Annotated[float, typer.Option(min=0, help="Seconds that --ship may take.")] = 60.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> int:
    """Show the usage records that wait for a database, by database and process; --ship moves them there."""
    from datetime import UTC, datetime  # noqa: PLC0415

    import msgspec  # noqa: PLC0415

    from llm_gateway.cli.spool import spool_lines  # noqa: PLC0415

    app, settings = maintenance()
    is_shipped = not ship or asyncio.run(app.ship_spool(settings, timeout))
    spool = asyncio.run(app.show_spool(settings))
    if as_json:
        print(msgspec.json.format(msgspec.json.encode(spool)).decode())
    else:
        for line in spool_lines(spool, datetime.now(UTC)):
            print(line)
    if not is_shipped:
        print(
            f"llm-gateway: not everything was shipped within {timeout:g} s. What is left is safe where it is; run "
            "the command again once the database answers.",
            file=sys.stderr,
        )
    return 0 if is_shipped else 1


def _summaries() -> Any:  # noqa: ANN401 - a module
    from llm_gateway.app.operations import summaries  # noqa: PLC0415 - serving does not need it

    return summaries


def _billing() -> Any:  # noqa: ANN401 - a module
    from llm_gateway.app.operations import billing  # noqa: PLC0415 - serving does not need it

    return billing


def _wanted(since: str | None, until: str | None, **fields: str | None) -> Any:  # noqa: ANN401 - a UsageFilter
    from llm_gateway.flow.ports.usage import UsageFilter  # noqa: PLC0415

    others: Any = fields
    return UsageFilter(since=_moment("--since", since), until=_moment("--until", until), **others)


def _moment(option: str, text: str | None) -> int | None:
    from llm_gateway.core.times import read_time  # noqa: PLC0415

    try:
        return None if text is None else read_time(text)
    except (ValueError, OverflowError):
        message = f"{text!r} is not an ISO 8601 time (UTC unless it has an offset) or Unix seconds"
        raise typer.BadParameter(message, param_hint=option) from None


def _zone(name: str) -> Any:  # noqa: ANN401 - a tzinfo
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError  # noqa: PLC0415

    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        message = f"{name!r} is not a time zone of the IANA database, such as Europe/Berlin"
        raise typer.BadParameter(message, param_hint="--time-zone") from None
