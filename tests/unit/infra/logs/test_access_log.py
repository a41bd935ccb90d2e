"""The access log: one JSON line a request, whatever becomes of standard output."""

from __future__ import annotations

import asyncio
import json
import os
import select
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import pytest
from loguru import logger

from llm_gateway.core.ledger.records import UsageRecord
from llm_gateway.infra.logs.access_log import AccessLog
from tests.fakes.in_memory import FakeClock
from tests.fakes.usage_records import record, served

Mode = Literal["all", "errors", "off"]


@pytest.fixture
def said() -> Iterator[list[str]]:
    lines: list[str] = []
    handler = logger.add(lambda message: lines.append(message.record["message"]), level="INFO")
    yield lines
    logger.remove(handler)


@pytest.fixture
def output(tmp_path: Path) -> Iterator[int]:
    file = os.open(tmp_path / "out", os.O_RDWR | os.O_CREAT)
    yield file
    os.close(file)


def written(file: int) -> list[dict[str, Any]]:
    return [json.loads(line) for line in os.pread(file, 10_000_000, 0).splitlines()]


async def log_of(file: int, *records: UsageRecord, mode: Mode = "all") -> AccessLog:
    log = AccessLog(mode, FakeClock(), file)
    log.start()
    for one in records:
        log.finished(one)
    await log.close()
    return log


async def test_a_line_says_what_happened_and_no_more(output: int) -> None:
    await log_of(
        output,
        record(
            "id", created_at=1_750_000_000_123_456, client_request_id="theirs", client_ip="10.0.0.1",
            ttft_ms=3.25, request_bytes=7, response_bytes=8, cost_nano_usd=420_000,
        ),
    )  # fmt: skip
    assert written(output) == [
        {
            "time": "2025-06-15T15:06:40.123Z",
            "request_id": "id",
            "client_request_id": "theirs",
            "client_ip": "10.0.0.1",
            "method": "POST",
            "endpoint": "/v1/chat/completions",
            "status_code": 200,
            "outcome": "ok",
            "error_type": None,
            "credential": "team",
            "provider": "main",
            "model": "gpt-4o",
            "stream": True,
            "attempts": 1,
            "prompt_tokens": 3,
            "completion_tokens": 2,
            "cost_usd": "0.00042",
            "latency_ms": 12.5,
            "ttft_ms": 3.25,
            "request_bytes": 7,
            "response_bytes": 8,
        }
    ]


@pytest.mark.parametrize(
    ("mode", "expected"),
    [("all", ["ok", "404", "cut", "left"]), ("errors", ["404", "cut", "left"]), ("off", [])],
)
async def test_modes(output: int, mode: Mode, expected: list[str]) -> None:
    await log_of(
        output,
        record("ok"),
        record("404", status_code=404, outcome="rejected"),
        record("cut", status_code=200, outcome="error"),
        record("left", status_code=200, outcome="aborted"),
        mode=mode,
    )
    assert [line["request_id"] for line in written(output)] == expected


async def test_lines_come_soon_without_being_asked_for(output: int) -> None:
    log = AccessLog("all", FakeClock(), output)
    log.start()
    for name in ("a", "b"):
        log.finished(record(name))
        async with asyncio.timeout(5):
            while name not in [line["request_id"] for line in written(output)]:  # noqa: ASYNC110 - a file
                await asyncio.sleep(0.01)
    await log.close()


async def test_a_full_batch_does_not_wait(output: int) -> None:
    log = AccessLog("all", FakeClock(), output, interval=3600)
    log.start()
    for number in range(1000):
        log.finished(record(str(number)))
        if not number % 50:
            await asyncio.sleep(0)
    async with asyncio.timeout(5):
        while len(written(output)) < 513:  # noqa: ASYNC110 - a file
            await asyncio.sleep(0.01)
    await log.close()
    assert [line["request_id"] for line in written(output)] == [str(number) for number in range(1000)]


async def test_what_a_client_sends_cannot_break_a_line(output: int) -> None:
    await log_of(output, record("a", model='new\nline \ud800 "quoted"\0'), record("b", model="x" * 100_000))
    first, second = written(output)
    assert first["model"] == 'new\nline ? "quoted"\0'
    assert len(second["model"]) < 1000


async def test_a_pipe_gets_whole_lines_in_pieces_that_do_not_mix(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    write = os.write

    def note(file: int, data: memoryview) -> int:
        sizes.append(len(data))
        assert bytes(data[-1:]) == b"\n"
        return write(file, data)

    reading, writing = os.pipe()
    received = bytearray()

    def drain() -> None:
        while data := os.read(reading, 65536):
            received.extend(data)

    reader = threading.Thread(target=drain)
    reader.start()
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", note)
        await log_of(writing, *(record(str(number)) for number in range(2000)))
    os.close(writing)
    reader.join(10)
    os.close(reading)
    assert len(received.splitlines()) == 2000
    assert max(sizes) <= 4096


async def test_a_pipe_that_nobody_reads_costs_lines_but_no_time() -> None:
    reading, writing = os.pipe()
    log = AccessLog("all", FakeClock(), writing, max_waiting=1000)
    log.start()
    for number in range(5000):
        log.finished(record(str(number)))
        await asyncio.sleep(0)
    assert log.dropped > 2000
    before = log.dropped
    # Somebody reads again: everything kept comes, and one line says how much did not.
    received = bytearray()

    def drain() -> None:
        while data := os.read(reading, 65536):
            received.extend(data)

    reader = threading.Thread(target=drain)
    reader.start()
    await log.close(10)
    os.close(writing)
    reader.join(10)
    os.close(reading)
    lines = [json.loads(line) for line in received.splitlines()]
    assert [line["dropped"] for line in lines if "dropped" in line] == [before]
    assert len(lines) == 5000 - before + 1


async def test_a_pipe_that_blocks_for_good_does_not_hold_up_the_end() -> None:
    reading, writing = os.pipe()
    log = AccessLog("all", FakeClock(), writing)
    log.start()
    for number in range(2000):
        log.finished(record(str(number)))
    await log.close(0.05)
    assert any(thread.name == "line-writer" and thread.daemon for thread in threading.enumerate())
    os.close(reading)
    os.close(writing)


async def test_a_closed_pipe_is_said_once(said: list[str]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    log = AccessLog("all", FakeClock(), writing)
    log.start()
    for number in range(3):
        log.finished(record(str(number)))
        async with asyncio.timeout(5):
            while log.dropped <= number:  # noqa: ASYNC110 - a counter
                await asyncio.sleep(0.01)
    await log.close()
    os.close(writing)
    assert log.dropped == 3
    assert said == ["Cannot write the access log to standard output: Broken pipe"]


async def test_a_full_disk_is_survived(said: list[str]) -> None:
    full = os.open("/dev/full", os.O_WRONLY)
    log = await log_of(full, record("a"))
    os.close(full)
    assert log.dropped == 1
    assert len(said) == 1


async def test_a_pipe_made_non_blocking_by_others_still_gets_every_line() -> None:
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    log = AccessLog("all", FakeClock(), writing)
    log.start()
    for number in range(2000):
        log.finished(record(str(number)))
    closing = asyncio.create_task(log.close(10))
    received = bytearray()
    while received.count(b"\n") < 2000:
        received += await asyncio.to_thread(os.read, reading, 65536)
    await closing
    os.close(reading)
    os.close(writing)
    assert log.dropped == 0


async def test_a_standard_output_that_was_closed_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its number may belong to a socket by now."""
    monkeypatch.setattr("sys.stdout", None)
    log = await log_of(1, record("a"))
    assert log.dropped == 1


DANGEROUS = "\x7f\x85\x9b\u2028\u2029\u202e\u2066\u200b\ufeff\U000e0041"


@pytest.mark.parametrize(
    "field",
    [
        "request_id",
        "client_request_id",
        "client_ip",
        "endpoint",
        "error_type",
        "credential",
        "provider",
        "model",
    ],
)
async def test_no_field_can_forge_or_hide_a_part_of_a_line(output: int, field: str) -> None:
    text = f"a{DANGEROUS}\r\n\x1b[31m\u4e2d"
    changed = record("x", **{field: text}) if field != "request_id" else record(text)
    await log_of(output, record("before"), changed, record("after"))
    raw = os.pread(output, 100_000, 0).decode()
    assert not set(raw) & set(DANGEROUS + "\r\x1b")
    assert "\u4e2d" in raw
    assert len(raw.split("\n")) == 4
    assert written(output)[1][field] == text


async def test_a_line_is_never_longer_than_an_atomic_write(output: int) -> None:
    names = ("model", "endpoint", "credential", "provider", "error_type")
    texts = dict.fromkeys(names, "\U000e0041\u202e\x7f" * 5000)
    long = record("long", client_request_id="\ud800" * 9000, client_ip="x" * 9000, **texts)
    await log_of(output, record("before"), long, record("long too", model="m" * 5000), record("after"))
    lines = os.pread(output, 100_000, 0).splitlines(keepends=True)
    assert [json.loads(line)["request_id"] for line in lines] == ["before", "long", "long too", "after"]
    assert max(map(len, lines)) < select.PIPE_BUF
    assert json.loads(lines[2])["model"] == "m" * 512


@pytest.mark.parametrize(("mode", "lines"), [("all", 3), ("errors", 1), ("off", 0)])
async def test_served_requests_have_lines_among_the_others(output: int, mode: Mode, lines: int) -> None:
    log = AccessLog(mode, FakeClock(), output)
    log.start()
    log.served([served("a")])
    log.finished(record("b", outcome="error", status_code=502))
    log.served([served("c")])
    await log.close()
    assert [line["request_id"] for line in written(output)] == (["a", "b", "c"] if lines == 3 else ["b"])[
        :lines
    ]


async def test_served_requests_beyond_the_bound_are_dropped_and_counted(output: int) -> None:
    log = AccessLog("all", FakeClock(), output, max_waiting=3)
    log.start()
    log.finished(record("a"))
    log.served([served(str(number)) for number in range(5)])
    log.served([served("more")])
    assert log.dropped == 4
    await log.close()
    assert [line.get("request_id") for line in written(output)][:3] == ["a", "0", "1"]
