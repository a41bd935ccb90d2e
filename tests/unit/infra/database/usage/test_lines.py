"""Lines of the journal become facts that the database takes, each request and attempt once."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from msgspec.structs import asdict

from llm_gateway.core.ledger.records import AttemptEnded, UsageRecord
from llm_gateway.flow.ports.ledger import RecordsRejected
from llm_gateway.infra.database.usage.lines import read_lines, replaces
from llm_gateway.infra.json_lines import to_line
from tests.fakes.usage_records import failed_attempt, record


async def test_a_fit_line_is_sent_as_it_came() -> None:
    line = to_line(record("a", tags={"k": "v"}, cost_breakdown={"input_tokens": (1, 2)}))
    [read] = (await read_lines([line])).records
    assert read.json is line
    assert asdict(read.fact) == asdict(record("a", tags={"k": "v"}, cost_breakdown={"input_tokens": (1, 2)}))


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ({"model": "m" * 257}, {"model": "m" * 256}),
        ({"prompt_tokens": 2**63, "total_tokens": -(2**70)}, {"prompt_tokens": 2**63 - 1, "total_tokens": 1 - 2**63}),
        ({"end_user": "a\0b"}, {"end_user": "a\ufffdb"}),
        ({"tags": {"k" * 300: "v" * 300}}, {"tags": {"k" * 256: "v" * 256}}),
        ({"tags": {f"{n:03}": "" for n in range(70)}}, {"tags": {f"{n:03}": "" for n in range(64)}}),
        ({"cost_breakdown": {f"{n}": (1, 1) for n in range(65)}, "cost_nano_usd": 65}, {"cost_nano_usd": 65}),
        ({"cost_nano_usd": None, "tags": None, "model": None}, {"model": None}),
    ],
)  # fmt: skip
async def test_what_does_not_fit_is_cut_in_the_fact_and_in_the_line(
    sent: dict[str, Any], kept: dict[str, Any]
) -> None:
    [read] = (await read_lines([to_line(record("a", **sent))])).records
    assert asdict(read.fact) == asdict(record("a", **kept))
    assert msgspec.json.decode(read.json, type=UsageRecord) == record("a", **kept)


async def test_one_line_that_does_not_fit_leaves_the_others_as_they_came() -> None:
    lines = [to_line(record("a")), to_line(record("b", model="m" * 300)), to_line(record("c"))]
    read = (await read_lines(lines)).records
    assert [line.fact.model for line in read] == ["gpt-4o", "m" * 256, "gpt-4o"]
    assert [line.json for line in read][::2] == lines[::2]


async def test_attempts_are_cut_too() -> None:
    sent = failed_attempt("a", detail="x" * 999, prompt_tokens=2**64, cost_breakdown={"u" * 300: (1, 1)})
    [read] = (await read_lines([to_line(sent)])).attempts
    kept = failed_attempt("a", detail="x" * 256, prompt_tokens=2**63 - 1)
    assert asdict(read.fact) == asdict(kept)
    assert msgspec.json.decode(read.json, type=AttemptEnded) == kept


@pytest.mark.parametrize("line", [b"", b"{}", b"[1]", b'{"t":"end"', b'{"t":"attempt"}', b"\xff"])
async def test_a_line_that_is_no_fact_is_rejected(line: bytes) -> None:
    with pytest.raises(RecordsRejected):
        await read_lines([to_line(record("a")), line])


async def test_each_request_and_attempt_is_there_once_sorted_by_its_id() -> None:
    ends = [record("b"), record("a", outcome="interrupted"), record("a"), record("b", outcome="error")]
    attempts = [failed_attempt("b", attempt=2), failed_attempt("b"), failed_attempt("b", status=500)]
    attempts += [failed_attempt("a", outcome="interrupted"), failed_attempt("a", status=1)]
    batch = await read_lines([to_line(one) for one in (*ends, *attempts)])
    assert [asdict(line.fact) for line in batch.records] == [asdict(record("a")), asdict(record("b"))]
    assert [asdict(line.fact) for line in batch.attempts] == [
        asdict(failed_attempt("a", status=1)),
        asdict(failed_attempt("b")),
        asdict(failed_attempt("b", attempt=2)),
    ]


@pytest.mark.parametrize(
    ("stored", "sent", "expected"),
    [
        ({}, {}, False),
        ({}, {"outcome": "interrupted", "attempts": 9}, False),
        ({"outcome": "interrupted"}, {}, True),
        ({"outcome": "interrupted"}, {"outcome": "interrupted", "attempts": 2}, True),
        ({"outcome": "interrupted", "attempts": 2}, {"outcome": "interrupted", "attempts": 2}, False),
    ],
)
def test_only_an_interruption_is_replaced(
    stored: dict[str, Any], sent: dict[str, Any], expected: bool
) -> None:
    assert replaces(record("a", **sent), record("a", **stored)) is expected
