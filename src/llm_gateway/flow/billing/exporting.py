"""Writes usage rows as CSV and JSON lines, and charges as FOCUS, piece by piece."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from datetime import tzinfo
from typing import Any, Final, Literal

import msgspec

from llm_gateway.core.csv_cells import csv_line, safe_cell
from llm_gateway.core.ledger.records import UsageRecord, finished_at
from llm_gateway.core.money import usd_text
from llm_gateway.core.times import iso_time
from llm_gateway.flow.billing.charged_attempts import usage_rows
from llm_gateway.flow.billing.charges import Charges
from llm_gateway.flow.ports.usage import UsageFilter, UsageReader
from llm_gateway.wire.cost_files.focus import FOCUS_COLUMNS, FocusCharge, focus_row

ExportFormat = Literal["csv", "jsonl", "focus"]
CONTENT_TYPES: Final[dict[ExportFormat, str]] = {
    "csv": "text/csv; charset=utf-8",
    "jsonl": "application/x-ndjson",
    "focus": "text/csv; charset=utf-8",
}
# Bytes that are collected before they are passed on.
_PIECE: Final = 64 * 1024
_LEFT_OUT: Final = frozenset({"attempt_started_at", "cost_nano_usd"})
_FIELDS: Final = tuple(name for name in UsageRecord.__struct_fields__ if name not in _LEFT_OUT)
COLUMNS: Final = ("finished_at", "cost_usd", *_FIELDS)
_encode: Final = msgspec.json.Encoder().encode


def export(
    form: ExportFormat,
    usage: UsageReader,
    wanted: UsageFilter,
    *,
    zone: tzinfo,
    account: str,
    on_unpriced: Callable[[int], None] = lambda _: None,
) -> AsyncIterator[bytes]:
    """Yield the export in pieces. May raise StoreUnavailable after the first: what came until then is a part.

    CSV and JSON lines have one line for each request, newest first; FOCUS one for each day of `zone`, credential,
    model and meter, of the gateway `account`. FOCUS has no place for an unknown cost: `on_unpriced` is told at the
    end of how many attempts it has no line.
    """
    if form == "focus":
        lines = _focus(Charges(usage, wanted, zone), account, on_unpriced)
    else:
        lines = _rows(
            usage, wanted, _csv if form == "csv" else _json, csv_line(COLUMNS) if form == "csv" else b""
        )
    return _pieces(lines)


async def _pieces(lines: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    collected = bytearray()
    async for line in lines:
        collected += line
        if len(collected) >= _PIECE:
            yield bytes(collected)
            collected.clear()
    if collected:
        yield bytes(collected)


async def _rows(
    usage: UsageReader, wanted: UsageFilter, write: Callable[[dict[str, Any]], bytes], head: bytes
) -> AsyncIterator[bytes]:
    yield head
    async for record in usage_rows(usage, wanted):
        yield write(_values(record))


def _values(record: UsageRecord) -> dict[str, Any]:
    cost, breakdown = record.cost_nano_usd, record.cost_breakdown
    values: dict[str, Any] = {
        "finished_at": iso_time(finished_at(record)),
        "cost_usd": None if cost is None else usd_text(cost),
        **{name: getattr(record, name) for name in _FIELDS},
    }
    values["created_at"] = iso_time(record.created_at)
    if breakdown is not None:
        values["cost_breakdown"] = [
            {"unit": unit, "quantity": quantity, "cost_usd": usd_text(nano_usd)}
            for unit, (quantity, nano_usd) in breakdown.items()
        ]
    return values


def _json(values: dict[str, Any]) -> bytes:
    return _encode(values) + b"\n"


def _csv(values: dict[str, Any]) -> bytes:
    return csv_line(_cell(values[name]) for name in COLUMNS)


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return safe_cell(value)
    if isinstance(value, bool | dict | list):
        return _encode(value).decode()
    return str(value)


async def _focus(charges: Charges, account: str, on_unpriced: Callable[[int], None]) -> AsyncIterator[bytes]:
    yield csv_line(FOCUS_COLUMNS)
    async for charge in charges:
        row = focus_row(
            FocusCharge(
                start=charge.day.start,
                end=charge.day.end,
                month_start=charge.month.start,
                month_end=charge.month.end,
                provider=charge.provider,
                model=charge.upstream_model,
                meter=charge.meter,
                credential=charge.credential,
                tenant=charge.tenant,
                project=charge.project,
                quantity=charge.quantity,
                nano_usd=charge.nano_usd,
                requests=charge.requests,
                account=account,
            )
        )
        yield csv_line(safe_cell(row[name]) for name in FOCUS_COLUMNS)
    on_unpriced(charges.unpriced)
