"""Files of usage rows: complete, safe to open, and as large as they come."""

from __future__ import annotations

import csv
import io
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import pytest

from llm_gateway.flow.billing.exporting import COLUMNS, ExportFormat, export
from llm_gateway.flow.ports.usage import UsageFilter
from llm_gateway.wire.cost_files.reading import read_bill
from tests.fakes.usage_reader import ListedUsage
from tests.fakes.usage_records import record

UTC = ZoneInfo("UTC")


async def exported(form: ExportFormat, *rows: Any, told: list[int] | None = None) -> bytes:
    seen: list[int] = [] if told is None else told
    pieces = export(
        form, ListedUsage(*rows), UsageFilter(), zone=UTC, account="gateway", on_unpriced=seen.append
    )
    return b"".join([piece async for piece in pieces])


PRICED = record(
    "id-1", attempts=1, cost_nano_usd=420_000, cost_source="catalog", tags={"team": "red"},
    cost_breakdown={"input_tokens": (100, 400_000), "output_tokens": (2, 20_000)},
)  # fmt: skip
UNPRICED = record(
    "id-2", attempts=1, created_at=PRICED.created_at - 1, cost_source="none", unpriced="unknown_model"
)


async def test_csv_has_a_line_for_each_request() -> None:
    first, second = csv.DictReader(io.StringIO((await exported("csv", UNPRICED, PRICED)).decode()))
    assert tuple(first) == COLUMNS
    assert (first["request_id"], first["cost_usd"], first["stream"]) == ("id-1", "0.00042", "true")
    assert msgspec.json.decode(first["tags"]) == {"team": "red"}
    [_, output] = msgspec.json.decode(first["cost_breakdown"])
    assert output == {"unit": "output_tokens", "quantity": 2, "cost_usd": "0.00002"}
    # Unknown is empty, never 0.
    assert (second["cost_usd"], second["unpriced"]) == ("", "unknown_model")


async def test_json_lines_have_the_same_fields() -> None:
    first, second = map(msgspec.json.decode, (await exported("jsonl", UNPRICED, PRICED)).splitlines())
    assert set(first) == set(COLUMNS)
    assert (first["cost_usd"], second["cost_usd"]) == ("0.00042", None)
    assert first["created_at"] == "2025-06-15T15:06:40.000000Z"


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1"])
async def test_no_cell_is_a_formula(text: str) -> None:
    [row] = csv.DictReader(
        io.StringIO((await exported("csv", record("id-1", model=text))).decode(), newline="")
    )
    assert row["model"] == f"'{text}"


async def test_focus_is_a_bill_without_unknown_costs() -> None:
    told: list[int] = []
    bill = read_bill(await exported("focus", PRICED, UNPRICED, told=told))
    assert bill.format == "focus"
    assert sorted((line.item, int(line.nano_usd)) for line in bill.lines) == [
        ("input_tokens", 400_000), ("output_tokens", 20_000),
    ]  # fmt: skip
    assert told == [1]


@pytest.mark.parametrize(("form", "size"), [("csv", 1), ("jsonl", 0), ("focus", 1)])
async def test_without_rows_there_is_the_head_alone(form: ExportFormat, size: int) -> None:
    assert len((await exported(form)).splitlines()) == size


async def test_a_large_export_comes_in_pieces() -> None:
    rows = [record(f"id-{number:05}", created_at=number) for number in range(2500)]
    pieces = export("jsonl", ListedUsage(*rows), UsageFilter(), zone=UTC, account="gateway")
    sizes = [len(piece) async for piece in pieces]
    assert len(sizes) > 5
    assert max(sizes) < 128 * 1024
    lines = b"".join(
        [piece async for piece in export("jsonl", ListedUsage(*rows), UsageFilter(), zone=UTC, account="")]
    )
    assert len({msgspec.json.decode(line)["request_id"] for line in lines.splitlines()}) == 2500
