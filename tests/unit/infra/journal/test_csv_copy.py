"""The CSV copy has what no database took: complete at any time, safe to open, bounded, and gone afterwards."""

from __future__ import annotations

import asyncio
import csv
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from loguru import logger

from llm_gateway.infra.clock import SystemClock
from llm_gateway.infra.journal.csv_copy import HEADER, CsvCopy
from llm_gateway.infra.journal.files import read_folder
from llm_gateway.infra.journal.shipper import Shipper
from llm_gateway.infra.journal.status import read_status
from llm_gateway.infra.journal.writer import FileJournal
from tests.fakes.usage_records import (
    InMemoryUsageBackup,
    InMemoryUsageStore,
    attempt,
    event,
    failed_attempt,
    record,
)


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "telemetry_logs"


@pytest.fixture
def copy(folder: Path, target: Path) -> Iterator[CsvCopy]:
    copy = CsvCopy(folder, target)
    yield copy
    copy.close()


@pytest.fixture
def said() -> Iterator[list[str]]:
    lines: list[str] = []
    handler = logger.add(lambda message: lines.append(message.record["message"]), level="INFO")
    yield lines
    logger.remove(handler)


@pytest.fixture
async def shipper(folder: Path, store: InMemoryUsageStore, copy: CsvCopy) -> AsyncIterator[Shipper]:
    shipper = Shipper(folder, store, SystemClock(), csv_copy=copy, outage_after=0.2, max_backoff=0.2)
    shipper.start()
    yield shipper
    await shipper.drain(0)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - conditions of all sorts
            await asyncio.sleep(0.005)


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def ids(path: Path) -> list[str]:
    return [row["request_id"] for row in read(path)] if path.exists() else []


def everything(folder: Path) -> dict[str, int]:
    return {file.name: file.size for file in read_folder(folder).files()}


def test_a_row_shows_a_request_as_lists_do(journal: FileJournal, copy: CsvCopy) -> None:
    journal.begin(attempt("a"))
    journal.attempt_ended(failed_attempt("a"))
    journal.end(record("a", cost_nano_usd=420_000, tags={"team": "=x"}, cache_hit=True, requests=3))
    copy.update({})
    [row] = read(copy.path)
    assert row["created_at"] == "2025-06-15T15:06:40.000000Z"
    assert row["cost_usd"] == "0.00042"
    assert row["tags"] == '{"team":"=x"}'
    assert (row["stream"], row["cache_hit"], row["requests"]) == ("true", "true", "3")
    assert (row["prompt_tokens"], row["cached_tokens"]) == ("3", "")
    assert copy.path.stat().st_mode & 0o777 == 0o600


def test_events_are_rows_with_an_event_type_s1_22(journal: FileJournal, copy: CsvCopy) -> None:
    journal.end(record("a"))
    journal.event(
        event(
            "e-1",
            request_id="their own",
            event_type="=llm",
            source_ip="10.0.0.1",
            target_service="billing",
            latency_ms=1e308,
            request_bytes=2**70,
            attributes={"client_id": "web", "\n": '"'},
        )
    )
    copy.update({})
    request, shown = read(copy.path)
    assert (request["event_type"], request["event_id"], request["attributes"]) == ("", "", "")
    assert (shown["event_type"], shown["event_id"], shown["request_id"]) == ("'=llm", "e-1", "their own")
    assert (shown["source_ip"], shown["target_service"]) == ("10.0.0.1", "billing")
    assert (shown["soeid"], shown["project"], shown["credential"]) == ("ab1234", "risk-analysis", "team")
    assert shown["attributes"] == '{"client_id":"web","\\n":"\\""}'
    assert (shown["request_bytes"], shown["latency_ms"]) == (str(2**70), "1e+308")
    # An event is no request: nothing was used, and nothing cost anything.
    assert (shown["outcome"], shown["prompt_tokens"], shown["cost_usd"], shown["requests"]) == (
        "",
        "",
        "",
        "",
    )
    assert shown["created_at"] == "2025-06-15T15:06:40.000000Z"


@pytest.mark.parametrize("first", ["=", "+", "-", "@", "\t", "\r"])
def test_no_cell_is_a_formula(journal: FileJournal, copy: CsvCopy, first: str) -> None:
    evil = first + "cmd|' /C calc'!A0"
    journal.end(record("a", client_request_id=evil, end_user=evil, model="a=b", total_tokens=-5))
    copy.update({})
    [row] = read(copy.path)
    assert row["client_request_id"] == row["end_user"] == "'" + evil
    assert row["total_tokens"] == "'-5"
    assert row["model"] == "a=b"


def test_text_of_clients_stays_in_its_cell(journal: FileJournal, copy: CsvCopy) -> None:
    text = 'a "quoted", text\r\nof two lines, ü \ud800'
    journal.end(record("a", client_request_id=text))
    journal.end(record("b"))
    copy.update({})
    assert ids(copy.path) == ["a", "b"]
    assert read(copy.path)[0]["client_request_id"].startswith('a "quoted", text\r\nof two lines, ü')


def test_it_grows_with_what_waits_and_has_nothing_that_is_stored(
    journal: FileJournal, folder: Path, copy: CsvCopy
) -> None:
    journal.end(record("stored"))
    positions = everything(folder)
    copy.update(positions)
    assert not copy.path.exists()
    journal.end(record("a"))
    copy.update(positions)
    journal.end(record("b"))
    copy.update(positions)
    copy.update(positions)
    assert ids(copy.path) == ["a", "b"]


def test_it_is_complete_whenever_it_is_read(journal: FileJournal, copy: CsvCopy) -> None:
    journal.end(record("first"))
    copy.update({})
    is_over = threading.Event()
    seen: list[int] = []

    def look() -> None:
        while not is_over.is_set():
            raw = copy.path.read_bytes()
            assert raw.startswith(HEADER)
            assert raw.endswith(b"\r\n")
            assert {line.count(b",") for line in raw.splitlines()} == {HEADER.count(b",")}
            seen.append(len(raw))

    reader = threading.Thread(target=look)
    reader.start()
    for number in range(2000):
        journal.end(record(str(number)))
        if number % 50 == 0:
            copy.update({})
    is_over.set()
    reader.join()
    assert len(set(seen)) > 3


def test_a_full_copy_says_so_in_its_last_line(journal: FileJournal, folder: Path, target: Path) -> None:
    copy = CsvCopy(folder, target, max_bytes=20_000)
    for number in range(1000):
        journal.end(record(str(number)))
        if number % 10 == 0:
            copy.update({})
    rows = read(copy.path)
    assert copy.path.stat().st_size < 20_500
    assert [row["request_id"] for row in rows[:-1]] == [str(number) for number in range(len(rows) - 1)]
    assert len(rows) > 50
    assert "usage spool" in copy.path.read_text().splitlines()[-1]
    copy.close()


def test_it_goes_once_all_of_it_is_stored(journal: FileJournal, folder: Path, copy: CsvCopy) -> None:
    journal.end(record("a"))
    copy.update({})
    middle = everything(folder)
    journal.end(record("b"))
    copy.update({})
    copy.remove_shipped(middle)
    assert ids(copy.path) == ["a", "b"]
    copy.remove_shipped(everything(folder))
    assert not copy.path.exists()
    assert not copy.is_written
    # The next outage begins with an empty copy.
    positions = everything(folder)
    journal.end(record("c"))
    copy.update(positions)
    assert ids(copy.path) == ["c"]


def test_what_a_killed_process_left_is_replaced_or_removed(
    journal: FileJournal, folder: Path, target: Path, copy: CsvCopy
) -> None:
    journal.end(record("a"))
    killed = CsvCopy(folder, target)
    killed.update({})
    killed.close()
    copy.update({})
    assert ids(copy.path) == ["a"]
    copy.close()
    later = CsvCopy(folder, target)
    later.remove_shipped(everything(folder))
    assert not later.path.exists()


def test_the_file_of_another_program_is_kept(
    journal: FileJournal, target: Path, copy: CsvCopy, said: list[str]
) -> None:
    target.mkdir()
    copy.path.write_text("timestamp,user,tokens\n1,me,2\n")
    copy.remove_shipped({})
    assert copy.path.read_text().startswith("timestamp,user")
    journal.end(record("a"))
    copy.update({})
    assert ids(copy.path) == ["a"]
    [other] = list(target.glob("telemetry-*.csv"))
    assert other.read_text() == "timestamp,user,tokens\n1,me,2\n"
    assert any(other.name in line for line in said)


def test_a_copy_that_an_operator_deletes_is_begun_again(journal: FileJournal, copy: CsvCopy) -> None:
    journal.end(record("a"))
    copy.update({})
    copy.path.unlink()
    journal.end(record("b"))
    copy.update({})
    assert ids(copy.path) == ["a", "b"]


def test_a_folder_that_cannot_be_written_is_one_warning(
    journal: FileJournal, folder: Path, tmp_path: Path, said: list[str]
) -> None:
    (tmp_path / "file").write_text("")
    copy = CsvCopy(folder, tmp_path / "file" / "below")
    for number in range(5):
        journal.end(record(str(number)))
        copy.update({})
    assert not copy.is_written
    [line] = [line for line in said if "Cannot write" in line]
    assert "CSV_FALLBACK_DIR" in line
    assert str(folder) in line
    copy.remove_shipped(everything(folder))


def test_two_gateways_do_not_write_one_file(
    journal: FileJournal, tmp_path: Path, target: Path, copy: CsvCopy, said: list[str]
) -> None:
    journal.end(record("a"))
    copy.update({})
    other_journal = FileJournal(tmp_path / "other", 64 * 1024 * 1024, SystemClock())
    other_journal.end(record("other"))
    other = CsvCopy(tmp_path / "other", target)
    other.update({})
    other.remove_shipped({})
    assert ids(copy.path) == ["a"]
    assert any("another gateway writes to it" in line for line in said)
    other_journal.close()


async def test_the_shipper_keeps_it_while_no_store_answers(
    shipper: Shipper, journal: FileJournal, store: InMemoryUsageStore, copy: CsvCopy, folder: Path
) -> None:
    journal.end(record("stored"))
    assert await shipper.flush(10)
    store.down = True
    journal.end(record("a"))
    await until(lambda: ids(copy.path) == ["a"])
    await until(lambda: read_status(folder).csv_copy == str(copy.path))
    assert read_status(folder).store == "none"
    journal.end(record("b"))
    await until(lambda: ids(copy.path) == ["a", "b"])
    store.down = False
    assert await shipper.flush(10)
    await until(lambda: not copy.path.exists())
    await until(lambda: read_status(folder).store == "primary" and read_status(folder).csv_copy is None)


async def test_a_store_that_hangs_counts_as_away(folder: Path, journal: FileJournal, copy: CsvCopy) -> None:
    class Hanging(InMemoryUsageStore):
        async def upsert(self, facts: Any) -> None:
            await asyncio.Event().wait()

    shipper = Shipper(folder, Hanging(), SystemClock(), csv_copy=copy, outage_after=0.2)
    shipper.start()
    journal.end(record("a"))
    await until(lambda: ids(copy.path) == ["a"])
    await shipper.drain(0)
    # What waits is still there for people to read.
    assert ids(copy.path) == ["a"]


async def test_what_the_backup_took_needs_no_copy(
    folder: Path, journal: FileJournal, store: InMemoryUsageStore, copy: CsvCopy
) -> None:
    backup = InMemoryUsageBackup()
    store.down = backup.down = True
    shipper = Shipper(
        folder,
        store,
        SystemClock(),
        backup=backup,
        patience=0.1,
        csv_copy=copy,
        outage_after=0.2,
        max_backoff=0.2,
    )
    shipper.start()
    journal.end(record("a"))
    await until(lambda: ids(copy.path) == ["a"])
    backup.down = False
    await until(lambda: len(backup.lines) == 1)
    await until(lambda: not copy.path.exists())
    await shipper.drain(0)


def test_closing_waits_for_a_call_that_its_caller_has_left(
    journal: FileJournal, folder: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = CsvCopy(folder, target)
    journal.end(record("a"))
    copy.update({})
    closing, is_closed = threading.Event(), threading.Event()
    closed: list[int] = []

    def close(descriptor: int) -> None:
        closing.set()
        # Time for the other call to do the same.
        assert not is_closed.wait(0.2)
        closed.append(descriptor)

    left = threading.Thread(target=copy.remove_shipped, args=(everything(folder),))
    with monkeypatch.context() as patched:
        patched.setattr("llm_gateway.infra.journal.csv_copy.os.close", close)
        left.start()
        assert closing.wait(10)
        copy.close()
        is_closed.set()
        left.join()
    assert len(closed) == 1


async def test_without_an_outage_no_folder_is_made(
    shipper: Shipper, journal: FileJournal, target: Path, copy: CsvCopy
) -> None:
    journal.end(record("a"))
    assert await shipper.flush(10)
    await until(lambda: copy.is_tidy)
    assert not target.exists()
