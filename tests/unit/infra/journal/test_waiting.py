"""What waits is counted and dated without touching it."""

from __future__ import annotations

from pathlib import Path

from llm_gateway.infra.clock import SystemClock
from llm_gateway.infra.journal.files import read_folder
from llm_gateway.infra.journal.shipper import Shipper
from llm_gateway.infra.journal.status import ShippingStatus, read_status, write_status
from llm_gateway.infra.journal.waiting import count_waiting, ended_at, oldest_waiting, waiting_lines
from llm_gateway.infra.journal.writer import FileJournal
from llm_gateway.infra.json_lines import to_line
from tests.fakes.usage_records import attempt, event, failed_attempt, record

START = 1_750_000_000_000_000


def test_ended_requests_and_failed_attempts_are_counted(journal: FileJournal, folder: Path) -> None:
    journal.begin(attempt("a"))
    journal.attempt_ended(failed_attempt("a"))
    journal.begin(attempt("a", attempts=2))
    journal.end(record("a", created_at=START + 5_000_000, latency_ms=20.0))
    journal.end(record("b", created_at=START + 9_000_000))
    journal.begin(attempt("open"))
    [waiting] = count_waiting(folder, {}).values()
    assert (waiting.files, waiting.records, waiting.attempts) == (1, 2, 1)
    assert waiting.size == read_folder(folder).files()[0].size
    # The failed attempt, which began at once and took 2.5 ms.
    assert waiting.oldest == START + 100 + 2_500


def test_events_are_counted_and_dated_by_their_arrival(journal: FileJournal, folder: Path) -> None:
    journal.event(event("e", created_at=START + 7, latency_ms=1e308))
    assert oldest_waiting(folder, {}) == START + 7
    journal.end(record("a", created_at=START + 5_000_000))
    journal.event(event("f", created_at=START + 3))
    [waiting] = count_waiting(folder, {}).values()
    assert (waiting.records, waiting.attempts, waiting.events) == (1, 0, 2)
    assert waiting.oldest == START + 3


def test_what_is_stored_is_not_counted(journal: FileJournal, folder: Path) -> None:
    journal.end(record("a"))
    [file] = read_folder(folder).files()
    journal.end(record("b"))
    [waiting] = count_waiting(folder, {file.name: file.size}).values()
    assert waiting.records == 1
    assert waiting.size == len(to_line(record("b")))


def test_the_oldest_is_found_over_all_processes(folder: Path) -> None:
    assert oldest_waiting_or_none(folder) is None
    journals = [FileJournal(folder, 64 * 1024 * 1024, SystemClock()) for _ in range(3)]
    assert oldest_waiting(folder, {}) is None
    journals[0].begin(attempt("open"))
    assert oldest_waiting(folder, {}) is None
    journals[1].end(record("b", created_at=START + 7_000_000, latency_ms=1.5))
    journals[0].end(record("a", created_at=START + 8_000_000))
    assert oldest_waiting(folder, {}) == START + 7_001_500
    for journal in journals:
        journal.close()


def oldest_waiting_or_none(folder: Path) -> int | None:
    class Store:
        async def upsert(self, facts: object) -> None:
            raise NotImplementedError

    return Shipper(folder, Store(), SystemClock()).oldest_waiting()


def test_half_a_line_and_garbage_are_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"garbage \xff\n" + to_line(record("a")) + to_line(record("b"))[:20])
    [(lines, place)] = waiting_lines(path, 0)
    assert lines == [b"garbage \xff", to_line(record("a")).rstrip()]
    assert place == path.stat().st_size - 20
    assert list(waiting_lines(path, place)) == []
    assert ended_at(b'{"t":"end","created_at":"\xff"}') is None


def test_long_files_are_read_in_parts(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"".join(to_line(record(str(number))) for number in range(5000)))
    parts = list(waiting_lines(path, 0))
    assert len(parts) > 1
    assert sum(len(lines) for lines, _ in parts) == 5000
    assert parts[-1][1] == path.stat().st_size


def test_the_status_is_read_as_it_was_written(tmp_path: Path) -> None:
    assert read_status(tmp_path) == ShippingStatus()
    status = ShippingStatus(store="none", backup_holds=True, csv_copy="/tmp/telemetry.csv")
    write_status(tmp_path, status)
    assert read_status(tmp_path) == status
    (tmp_path / "status.json").write_bytes(b'{"store":"\xff')
    assert read_status(tmp_path) == ShippingStatus()
