"""The reader finds every fact in the files of live and dead processes, torn and broken ones too."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from loguru import logger

from llm_gateway.core.ledger.records import interrupted
from llm_gateway.infra.clock import SystemClock
from llm_gateway.infra.journal import reader as journal_reader
from llm_gateway.infra.journal.files import journal_path, read_folder
from llm_gateway.infra.journal.shipper import Shipper
from llm_gateway.infra.journal.writer import FileJournal
from llm_gateway.infra.json_lines import to_line
from tests.fakes.usage_records import InMemoryUsageStore, attempt, event, failed_attempt, record

MB = 1024 * 1024


@pytest.fixture
def said() -> Iterator[list[str]]:
    lines: list[str] = []
    handler = logger.add(lambda message: lines.append(message.record["message"]), level="INFO")
    yield lines
    logger.remove(handler)


async def until(condition: Any) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - conditions of all sorts, most of them on disk
            await asyncio.sleep(0.005)


async def test_lines_that_cannot_be_read_are_set_aside(
    shipper: Shipper, journal: FileJournal, store: InMemoryUsageStore, folder: Path
) -> None:
    [file] = read_folder(folder).files()
    journal.end(record("a"))
    with (folder / file.name).open("ab") as raw:
        raw.write(b'{"t":"end","request_id":"torn\n\0\0\0\0\n{"t":"other"}\n\xff\xfe\n')
    journal.end(record("b"))
    assert await shipper.flush()
    assert store.rows.keys() == {"a", "b"}
    assert shipper.rejected == 4
    # Read again when their process is dead, they are not set aside again.
    journal.begin(attempt("c"))
    journal.close()
    assert await shipper.flush()
    assert store.rows["c"].outcome == "interrupted"
    assert shipper.rejected == 4


async def test_events_of_live_and_dead_processes_come_once_and_leave_open_attempts_alone(
    shipper: Shipper, journal: FileJournal, store: InMemoryUsageStore, folder: Path
) -> None:
    # The same id as an attempt's: an event does not end a request.
    journal.begin(attempt("a"))
    journal.event(event("a", request_id="a"))
    assert await shipper.flush()
    assert store.events == {"a": event("a", request_id="a")}
    assert store.rows == {}
    journal.event(event("b"))
    [file] = read_folder(folder).files()
    with (folder / file.name).open("ab") as raw:
        raw.write(b'{"t":"event","event_id":"torn","attributes":' + b'{"a":' * 50_000 + b"\n")
        raw.write(b'{"t":"event","event_id":"torn"}\n')
    journal.close()
    assert await shipper.flush()
    assert store.events.keys() == {"a", "b"}
    assert store.rows["a"].outcome == "interrupted"
    assert shipper.rejected == 2
    assert not read_folder(folder).incarnations


async def test_a_torn_last_line_waits_while_its_process_lives(
    shipper: Shipper, journal: FileJournal, store: InMemoryUsageStore, folder: Path
) -> None:
    [file] = read_folder(folder).files()
    line = to_line(record("slow"))
    with (folder / file.name).open("ab", buffering=0) as raw:
        raw.write(line[:20])
        assert not await shipper.flush(0.15)
        assert shipper.rejected == 0
        raw.write(line[20:])
    assert await shipper.flush()
    assert store.rows == {"slow": record("slow")}


async def test_a_torn_last_line_of_a_dead_process_is_set_aside(
    shipper: Shipper, journal: FileJournal, store: InMemoryUsageStore, folder: Path
) -> None:
    journal.begin(attempt("a"))
    [file] = read_folder(folder).files()
    with (folder / file.name).open("ab") as raw:
        raw.write(to_line(record("a"))[:-20])
    journal.close()
    assert await shipper.flush()
    assert store.rows["a"].outcome == "interrupted"
    assert shipper.rejected == 1
    assert not read_folder(folder).files()


async def test_a_long_run_of_garbage_is_passed_by(
    shipper: Shipper, journal: FileJournal, store: InMemoryUsageStore, folder: Path
) -> None:
    [file] = read_folder(folder).files()
    with (folder / file.name).open("ab") as raw:
        raw.write(b"\0" * (3 * MB))
    journal.end(record("joined to the garbage"))
    journal.end(record("a"))
    journal.close()
    assert await shipper.flush(10)
    assert "a" in store.rows
    assert shipper.rejected > 0


async def test_what_a_killed_newcomer_left_is_tidied_away(
    shipper: Shipper, journal: FileJournal, folder: Path
) -> None:
    """A lock without facts, and a file of facts that had not got its name."""
    (folder / "1-1.lock").touch()
    (folder / "2-2.lock").touch()
    journal_path(folder, "2-2", 1, finished=False).touch()
    journal_path(folder, "3-3", 1, finished=False).touch()
    await until(lambda: len(read_folder(folder).incarnations) == 1)
    assert not list(folder.glob("*.new"))


async def test_a_file_that_cannot_be_read_does_not_stop_the_others(
    shipper: Shipper, journal: FileJournal, store: InMemoryUsageStore, folder: Path, said: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    opened = os.open

    def refuse(path: Any, *more: Any) -> int:
        if str(path).endswith("1-1.000001.jsonl"):
            raise PermissionError(13, "Permission denied")
        return opened(path, *more)

    monkeypatch.setattr(os, "open", refuse)
    journal_path(folder, "1-1", 1).write_bytes(to_line(record("unreadable")))
    journal.end(record("a"))
    await until(lambda: "a" in store.rows)
    await until(lambda: not shipper.backlog_bytes - len(to_line(record("unreadable"))))
    assert len([line for line in said if "Permission denied" in line]) == 1


async def test_big_files_are_read_off_the_loop_in_bounded_pieces(
    shipper: Shipper, journal: FileJournal, store: InMemoryUsageStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    pread = os.pread

    def note(file: int, size: int, at: int) -> bytes:
        sizes.append(size)
        return pread(file, size, at)

    monkeypatch.setattr(os, "pread", note)
    for number in range(2000):
        journal.end(record(str(number)))
    assert await shipper.flush(10)
    assert len(store.rows) == 2000
    assert max(sizes) <= journal_reader._CHUNK <= MB


async def test_the_attempts_of_a_dead_process_become_interrupted(
    shipper: Shipper, journal: FileJournal, store: InMemoryUsageStore, folder: Path
) -> None:
    journal.begin(attempt("a"))
    journal.begin(attempt("b", provider="first"))
    journal.begin(attempt("b", provider="second", attempts=2))
    journal.end(record("c"))
    assert await shipper.flush()
    journal.close()
    assert await shipper.flush()
    assert store.rows == {
        "a": interrupted(attempt("a")),
        "b": interrupted(attempt("b", provider="second", attempts=2)),
        "c": record("c"),
    }
    assert sorted(path.name for path in folder.iterdir()) == ["shipped", "shipper.flock"]


async def test_an_attempt_that_a_killed_process_had_begun_is_interrupted(
    shipper: Shipper, journal: FileJournal, store: InMemoryUsageStore
) -> None:
    journal.begin(attempt("mid-attempt"))
    journal.attempt_ended(failed_attempt("mid-attempt"))
    journal.begin(attempt("mid-attempt", attempts=2, provider="second", started_at=1_750_000_000_700_000))
    journal.begin(attempt("waiting to retry"))
    journal.attempt_ended(failed_attempt("waiting to retry", next_step="retry"))
    journal.close()
    assert await shipper.flush()
    assert {row.outcome for row in store.rows.values()} == {"interrupted"}
    assert {key: row.outcome for key, row in store.attempts.items()} == {
        ("mid-attempt", 1): "error",
        ("mid-attempt", 2): "interrupted",
        ("waiting to retry", 1): "error",
    }
    cut = store.attempts["mid-attempt", 2]
    assert (cut.provider, cut.started_at, cut.latency_ms) == ("second", 1_750_000_000_700_000, None)


async def test_an_end_in_a_later_file_closes_its_attempt(
    folder: Path, store: InMemoryUsageStore, shipper: Shipper
) -> None:
    """With the first files shipped and deleted meanwhile, and with a process that dies in the end."""
    journal = FileJournal(folder, 16 * MB, SystemClock())
    journal.begin(attempt("ends"))
    journal.begin(attempt("never ends"))
    names: set[str] = set()
    number = 0
    while len(names) < 4:
        journal.begin(attempt(str(number)))
        journal.end(record(str(number)))
        number += 1
        names |= {file.name for file in read_folder(folder).files()}
    assert await shipper.flush(10)
    await until(lambda: len(read_folder(folder).files()) == 1)
    journal.end(record("ends"))
    journal.close()
    assert await shipper.flush(10)
    assert len(store.rows) == number + 2
    assert {row.outcome for key, row in store.rows.items() if key != "never ends"} == {"ok"}
    assert store.rows["never ends"].outcome == "interrupted"
    assert not read_folder(folder).incarnations
