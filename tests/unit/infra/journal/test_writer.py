"""The journal writes whole lines at once, never raises, and says what it lost."""

from __future__ import annotations

import asyncio
import errno
import os
import resource
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from loguru import logger

from llm_gateway.core.ledger.records import AttemptBegun, AttemptEnded, UsageRecord
from llm_gateway.core.ledger.served import SettledRequest
from llm_gateway.core.ledger.telemetry import MOST_ATTRIBUTE_BYTES, TelemetryEvent
from llm_gateway.infra.journal.files import is_dead, read_folder, used_bytes
from llm_gateway.infra.journal.syncing import JournalSync
from llm_gateway.infra.journal.writer import FileJournal
from llm_gateway.infra.json_lines import MAX_LINE, to_line
from llm_gateway.sockets.write_batch import ALWAYS, LONE_TURNS, LONE_WRITES, make_write_batch
from tests.fakes.in_memory import FakeClock
from tests.fakes.usage_records import attempt, event, failed_attempt, record

MB = 1024 * 1024


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def said() -> Iterator[list[str]]:
    lines: list[str] = []
    handler = logger.add(lambda message: lines.append(message.record["message"]), level="INFO")
    yield lines
    logger.remove(handler)


@pytest.fixture
def journal(tmp_path: Path, clock: FakeClock) -> Iterator[FileJournal]:
    journal = FileJournal(tmp_path / "journal", 64 * MB, clock)
    yield journal
    journal.close()


Fact = AttemptBegun | AttemptEnded | UsageRecord | TelemetryEvent


def facts(folder: Path) -> list[Fact]:
    decode = msgspec.json.Decoder(Fact).decode
    data = b"".join((folder / file.name).read_bytes() for file in read_folder(folder).files())
    assert data == b"" or data.endswith(b"\n")
    return [decode(line) for line in data.splitlines()]


def test_facts_are_in_the_file_when_the_call_returns(journal: FileJournal, tmp_path: Path) -> None:
    journal.begin(attempt("a"))
    assert facts(tmp_path / "journal") == [attempt("a")]
    journal.end(record("a"))
    journal.attempt_ended(failed_attempt("b"))
    assert facts(tmp_path / "journal") == [attempt("a"), record("a"), failed_attempt("b")]


@pytest.mark.parametrize(
    "odd",
    [
        {"attributes": {"a": '\n{"t":"end","request_id":"forged"}\n'}, "soeid": "\n\r\0"},
        {"attributes": {"half": "\ud800"}, "event_type": "\ud800"},
        {"attributes": {"large": "x" * MOST_ATTRIBUTE_BYTES}},
        {"attributes": {"deep": [[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]}},
        {"attributes": {"what": object()}},
        {"endpoint": "/" * 100_000, "method": "\x01" * 100_000},
        {"latency_ms": float("inf"), "status_code": 10**40, "request_bytes": -(10**40)},
        {"latency_ms": float("nan"), "attributes": {"n": [float("nan"), 10**400]}},
    ],
)
def test_whatever_a_client_reports_is_one_line_of_its_own_s0_38(
    journal: FileJournal, tmp_path: Path, odd: dict[str, Any]
) -> None:
    journal.event(event("e", **odd))
    journal.end(record("a"))
    assert journal.lost == 0
    [kept, ended] = facts(tmp_path / "journal")
    assert isinstance(kept, TelemetryEvent)
    assert kept.event_id == "e"
    assert ended == record("a")


def test_events_are_kept_as_they_came(journal: FileJournal, tmp_path: Path) -> None:
    one = event("e", attributes={"client_id": "web", "n": [1.5, None, {"é": True}]}, latency_ms=1.25)
    journal.event(one)
    assert facts(tmp_path / "journal") == [one]


def _noted_writes(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """Return what is written from now on."""
    writes: list[bytes] = []
    write = os.write

    def note(file: int, data: bytes) -> int:
        writes.append(bytes(data))
        return write(file, data)

    monkeypatch.setattr(os, "write", note)
    return writes


def test_each_fact_is_one_write(journal: FileJournal, monkeypatch: pytest.MonkeyPatch) -> None:
    writes = _noted_writes(monkeypatch)
    journal.begin(attempt("a"))
    journal.end(record("a"))
    assert [line.count(b"\n") for line in writes] == [1, 1]
    assert all(line.endswith(b"\n") for line in writes)


def test_attempts_that_begin_with_writes_are_kept_before_the_first_of_these(tmp_path: Path) -> None:
    batch = make_write_batch(patience=ALWAYS)
    journal = FileJournal(tmp_path, 64 * MB, FakeClock(), batch=batch)
    sent: list[list[Fact]] = []
    send = batch.writer(lambda _data: sent.append(facts(tmp_path)), 10)

    async def turn() -> None:
        for name in "ab":
            journal.begin_with_writes(attempt(name))
            send(b"request")
        assert (sent, facts(tmp_path)) == ([], [])
        await asyncio.sleep(0)
        assert sent == [[attempt("a"), attempt("b")]] * 2
        # Large data does not wait for the end of the turn.
        journal.begin_with_writes(attempt("c"))
        send(b"a large request")
        assert sent[-1] == [attempt(name) for name in "abc"]

    asyncio.run(turn())
    journal.close()


async def test_a_lone_attempt_is_kept_before_its_request_is_sent_at_once(tmp_path: Path) -> None:
    batch = make_write_batch()
    journal = FileJournal(tmp_path, 64 * MB, FakeClock(), batch=batch)
    sent: list[int] = []
    send = batch.writer(lambda _data: sent.append(len(facts(tmp_path))), 10)
    for number in range(LONE_TURNS + LONE_WRITES):
        journal.begin_with_writes(attempt(str(number)))
        send(b"request")
        assert len(sent) == number + (number >= LONE_TURNS)
        await asyncio.sleep(0)
    assert sent == [*range(1, LONE_TURNS + LONE_WRITES + 1)]
    journal.close()


def test_any_other_fact_is_written_after_the_attempts_that_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writes = _noted_writes(monkeypatch)
    batch = make_write_batch(patience=ALWAYS)
    journal = FileJournal(tmp_path, 64 * MB, FakeClock(), batch=batch)
    journal.begin_with_writes(attempt("a"))
    journal.begin_with_writes(attempt("b"))
    journal.end(record("c"))
    batch.make()
    journal.begin_with_writes(attempt("d"))
    journal.close()
    assert facts(tmp_path) == [attempt("a"), attempt("b"), record("c"), attempt("d")]
    assert [line.count(b"\n") for line in writes] == [3, 1]


def test_attempts_that_wait_and_cannot_be_written_are_counted_and_no_attempt_waits_without_a_batch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = make_write_batch(patience=ALWAYS)
    journal = FileJournal(tmp_path / "a", 64 * MB, FakeClock(), batch=batch)
    alone = FileJournal(tmp_path / "b", 64 * MB, FakeClock())
    alone.begin_with_writes(attempt("a"))
    alone.write_waiting()
    assert facts(tmp_path / "b") == [attempt("a")]

    def full(_file: int, _data: bytes) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        for name in "abc":
            journal.begin_with_writes(attempt(name))
        batch.make()
    assert journal.lost == 3
    for one in (journal, alone):
        one.close()
    assert facts(tmp_path / "a") == []


async def test_ends_wait_for_writes_that_reach_clients(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = make_write_batch(patience=ALWAYS)
    journal = FileJournal(tmp_path, 64 * MB, FakeClock(), batch=batch, reaches_clients=True)
    seen: list[list[Fact]] = []
    reply = batch.writer(lambda _data: seen.append(facts(tmp_path)), 10)
    writes = _noted_writes(monkeypatch)
    for name in "ab":
        journal.begin_with_writes(attempt(name))
        journal.end_with_writes(record(name))
        reply(b"reply")
    assert facts(tmp_path) == []
    await asyncio.sleep(0)
    assert seen == [[attempt("a"), record("a"), attempt("b"), record("b")]] * 2
    assert len(writes) == 1
    # Nobody writes to a client that is gone.
    journal.end_with_writes(record("c"))
    journal.write_waiting()
    assert facts(tmp_path)[-1] == record("c")
    journal.close()


async def test_what_a_request_costs_is_settled_once_its_end_is_on_file(tmp_path: Path) -> None:
    batch = make_write_batch(patience=ALWAYS)
    journal = FileJournal(tmp_path, 64 * MB, FakeClock(), batch=batch, reaches_clients=True)
    settled: list[tuple[str, list[Fact]]] = []

    def settle(ended: SettledRequest) -> None:
        settled.append((ended.request_id, facts(tmp_path)))

    journal.end_with_writes(record("a"), settle)
    journal.end_with_writes(record("b"))
    journal.end_with_writes(record("c"), settle)
    assert settled == []
    # Before anything is written to a client.
    batch.writer(lambda _data: settled.append(("reply", [])), 10)(b"reply")
    await asyncio.sleep(0)
    on_file: list[Fact] = [record("a"), record("b"), record("c")]
    assert settled == [("a", on_file), ("c", on_file), ("reply", [])]
    # A line that does not wait takes those that do with it.
    journal.end_with_writes(record("d"), settle)
    journal.end(record("e"))
    assert settled[3:] == [("d", [*on_file, record("d"), record("e")])]
    journal.end_with_writes(record("f"), settle)
    journal.close()
    assert [request_id for request_id, _ in settled[4:]] == ["f"]


def test_what_cannot_be_settled_holds_up_nothing(tmp_path: Path, said: list[str]) -> None:
    batch = make_write_batch(patience=ALWAYS)
    journal = FileJournal(tmp_path, 64 * MB, FakeClock(), batch=batch, reaches_clients=True)
    settled: list[SettledRequest] = []

    def fail(_record: SettledRequest) -> None:
        raise ZeroDivisionError

    journal.end_with_writes(record("a"), fail)
    journal.end_with_writes(record("b"), settled.append)
    batch.make()
    assert settled == [record("b")]
    assert "Cannot settle request a" in said[0]
    journal.close()
    assert facts(tmp_path) == [record("a"), record("b")]


async def test_an_end_that_no_client_learns_of_does_not_wait_for_long(tmp_path: Path) -> None:
    journal = FileJournal(
        tmp_path,
        64 * MB,
        FakeClock(),
        batch=make_write_batch(patience=ALWAYS),
        reaches_clients=True,
        call_later=asyncio.get_running_loop().call_later,
    )
    for names in ("ab", "c"):
        before = facts(tmp_path)
        for name in names:
            journal.end_with_writes(record(name))
        assert facts(tmp_path) == before
        for _ in range(500):
            await asyncio.sleep(0.01)
            if facts(tmp_path) != before:
                break
        assert facts(tmp_path) == [*before, *map(record, names)]
    journal.close()


def test_what_cannot_be_encoded_leaves_nothing(tmp_path: Path) -> None:
    batch = make_write_batch(patience=ALWAYS)
    journal = FileJournal(tmp_path, 64 * MB, FakeClock(), batch=batch)
    journal.begin_with_writes(attempt("a"))
    with pytest.raises(TypeError):
        journal.begin_with_writes(attempt("b", client_ip=object()))
    journal.end(record("c"))
    assert facts(tmp_path) == [attempt("a"), record("c")]
    journal.close()


def test_a_bug_does_not_hold_up_the_writes_of_a_turn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: list[str]
) -> None:
    batch = make_write_batch(patience=ALWAYS)
    journal = FileJournal(tmp_path, 64 * MB, FakeClock(), batch=batch)
    journal.begin_with_writes(attempt("a"))
    with monkeypatch.context() as patch:
        patch.setattr(journal, "_write", lambda *_: 1 / 0)
        batch.make()
    assert journal.lost == 1
    assert "Cannot write to the journal" in said[0]
    journal.end(record("b"))
    assert facts(tmp_path) == [record("b")]
    journal.close()


@pytest.mark.parametrize(("syncs_ends", "reaches_clients"), [(True, True), (False, False)])
def test_ends_do_not_wait_for_other_writes(tmp_path: Path, syncs_ends: bool, reaches_clients: bool) -> None:
    journal = FileJournal(
        tmp_path,
        64 * MB,
        FakeClock(),
        sync=JournalSync(),
        batch=make_write_batch(),
        syncs_ends=syncs_ends,
        reaches_clients=reaches_clients,
    )
    settled: list[SettledRequest] = []
    journal.end_with_writes(record("a"), settled.append)
    assert facts(tmp_path) == [record("a")] == settled
    journal.close()


def test_a_file_that_changes_with_ends_that_wait_still_starts_with_their_attempts(tmp_path: Path) -> None:
    journal = FileJournal(
        tmp_path, 64 * MB, FakeClock(), batch=make_write_batch(patience=ALWAYS), reaches_clients=True
    )
    for number in range(2000):
        journal.begin_with_writes(attempt(str(number)))
        journal.end_with_writes(record(str(number)))
    journal.write_waiting()
    files = read_folder(tmp_path).files()
    assert len(files) > 2
    decode = msgspec.json.Decoder(Fact).decode
    for file in files:
        begun: set[str] = set()
        for line in (tmp_path / file.name).read_bytes().splitlines():
            fact = decode(line)
            assert isinstance(fact, AttemptBegun | UsageRecord)
            if isinstance(fact, AttemptBegun):
                begun.add(fact.request_id)
            else:
                assert fact.request_id in begun
    journal.close()
    journal.end(record("after"))
    [last] = [file for file in read_folder(tmp_path).files() if file not in files]
    # No attempt is open any more.
    assert (tmp_path / last.name).read_bytes() == to_line(record("after"))
    journal.close()


def test_attempts_do_not_wait_without_bounds(tmp_path: Path) -> None:
    journal = FileJournal(tmp_path, 64 * MB, FakeClock(), batch=make_write_batch(patience=ALWAYS))
    for number in range(1000):
        journal.begin_with_writes(attempt(str(number)))
    kept = {fact.request_id for fact in facts(tmp_path) if isinstance(fact, AttemptBegun)}
    assert 500 < len(kept) < 1000
    journal.close()
    kept = {fact.request_id for fact in facts(tmp_path) if isinstance(fact, AttemptBegun)}
    assert len(kept) == 1000


def test_the_lock_says_whether_the_process_lives(journal: FileJournal, tmp_path: Path) -> None:
    [incarnation] = read_folder(tmp_path / "journal").incarnations
    assert not is_dead(tmp_path / "journal", incarnation)
    journal.close()
    assert is_dead(tmp_path / "journal", incarnation)


def test_two_journals_of_one_instant_have_files_of_their_own(tmp_path: Path, clock: FakeClock) -> None:
    journals = [FileJournal(tmp_path, MB, clock) for _ in range(3)]
    for number, journal in enumerate(journals):
        journal.end(record(str(number)))
    assert len(read_folder(tmp_path).incarnations) == 3
    assert len(facts(tmp_path)) == 3
    for journal in journals:
        journal.close()


def test_a_new_file_starts_with_the_open_attempts(tmp_path: Path, clock: FakeClock) -> None:
    journal = FileJournal(tmp_path, 16 * MB, clock)
    journal.begin(attempt("long"))
    journal.begin(attempt("retried"))
    journal.begin(attempt("retried", attempts=2))
    number = 0
    while len(read_folder(tmp_path).files()) < 3:
        journal.begin(attempt(str(number)))
        journal.end(record(str(number)))
        number += 1
    # Older files are not needed any more: their open attempts are in the last one.
    for file in read_folder(tmp_path).files()[:-1]:
        (tmp_path / file.name).unlink()
    begun = [fact for fact in facts(tmp_path) if isinstance(fact, AttemptBegun)]
    assert begun[:2] == [attempt("long"), attempt("retried", attempts=2)]
    journal.close()


def test_a_file_that_changes_with_an_end_still_starts_with_its_attempt(
    tmp_path: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process may be killed after the new file has its name and before the end is in it."""
    journal = FileJournal(tmp_path, 16 * MB, clock)
    number, files = 0, 1
    while files == len(read_folder(tmp_path).files()):
        number += 1
        journal.begin(attempt(str(number)))
        # Only files that change with an end are of interest here.
        files = len(read_folder(tmp_path).files())
        journal.end(record(str(number)))
    last = read_folder(tmp_path).files()[-1]
    [begun, ended] = (tmp_path / last.name).read_bytes().splitlines(keepends=True)
    assert begun == to_line(attempt(str(number)))
    assert ended == to_line(record(str(number)))
    journal.close()


def test_many_open_attempts_do_not_make_files_change_all_the_time(tmp_path: Path, clock: FakeClock) -> None:
    journal = FileJournal(tmp_path, 64 * MB, clock)
    for number in range(3000):
        journal.begin(attempt(str(number)))
    assert 3 <= len(read_folder(tmp_path).files()) <= 6
    journal.close()


@pytest.mark.parametrize("text", ["x" * MAX_LINE, "broken \ud800 text", 'quote"back\\slash\nline\0'])
def test_any_text_makes_one_line_that_can_be_read(journal: FileJournal, tmp_path: Path, text: str) -> None:
    journal.begin(attempt("a", model=text))
    journal.end(record("a", model=text, client_request_id=text))
    journal.end(record("b"))
    assert [fact.request_id for fact in facts(tmp_path / "journal")] == ["a", "a", "b"]
    assert journal.lost == 0


def test_a_full_disk_loses_facts_but_no_request(
    tmp_path: Path, clock: FakeClock, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = FileJournal(tmp_path, MB, clock)
    journal.end(record("before"))
    write = os.write

    def full(_file: int, _data: bytes) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "write", full)
    for _ in range(50):
        journal.begin(attempt("x"))
        journal.end(record("x"))
    assert journal.lost == 100
    assert len(said) == 1
    assert "No space left" in said[0]
    monkeypatch.setattr(os, "write", write)
    clock.now += 1
    journal.end(record("after"))
    assert [fact.request_id for fact in facts(tmp_path)] == ["before", "after"]
    assert len(said) == 2
    assert "100 records were lost" in said[1]
    journal.close()


def test_a_half_line_is_taken_back(journal: FileJournal, tmp_path: Path, clock: FakeClock) -> None:
    """With a real limit on the file's size, so that the kernel writes a part of a line."""
    journal.end(record("before"))
    [file] = read_folder(tmp_path / "journal").files()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (file.size + 50, hard))
    try:
        journal.end(record("lost"))
        assert (tmp_path / "journal" / file.name).stat().st_size == file.size
        journal.end(record("lost too"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert journal.lost == 2
    clock.now += 1
    journal.end(record("after"))
    assert [fact.request_id for fact in facts(tmp_path / "journal")] == ["before", "after"]


def test_when_a_half_line_stays_the_next_goes_to_a_new_file(
    journal: FileJournal, tmp_path: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "journal"
    write, truncate = os.write, os.ftruncate
    monkeypatch.setattr(os, "write", lambda file, data: write(file, data[:10]))
    monkeypatch.setattr(os, "ftruncate", lambda *_: (_ for _ in ()).throw(OSError(errno.EIO, "I/O error")))
    journal.end(record("lost"))
    monkeypatch.setattr(os, "write", write)
    monkeypatch.setattr(os, "ftruncate", truncate)
    clock.now += 1
    journal.end(record("after"))
    torn, whole = read_folder(folder).files()
    assert torn.size == 10
    assert b"after" in (folder / whole.name).read_bytes()


def test_dev_full_is_survived(journal: FileJournal, clock: FakeClock) -> None:
    full = os.open("/dev/full", os.O_WRONLY)
    os.dup2(full, journal._file)
    os.close(full)
    for _ in range(5):
        clock.now += 1
        journal.end(record("lost"))
    assert journal.lost == 5


def test_c10_a_folder_that_cannot_be_made_is_no_failure(
    tmp_path: Path, clock: FakeClock, said: list[str]
) -> None:
    (tmp_path / "file").write_text("in the way")
    journal = FileJournal(tmp_path / "file" / "journal", MB, clock)
    journal.begin(attempt("lost"))
    journal.end(record("lost"))
    assert journal.lost == 2
    assert len(said) == 1
    (tmp_path / "file").unlink()
    clock.now += 1
    journal.end(record("kept"))
    assert [fact.request_id for fact in facts(tmp_path / "file" / "journal")] == ["kept"]
    journal.close()


def test_the_folder_is_bounded_and_says_so(tmp_path: Path, clock: FakeClock, said: list[str]) -> None:
    journal = FileJournal(tmp_path, MB, clock)
    number = 0
    while not journal.lost:
        journal.end(record(str(number)))
        number += 1
    assert MB * 0.9 < used_bytes(tmp_path) <= MB
    assert [line.split(" in ")[0] for line in said] == ["The journal"] * 2
    assert "80%" in said[0]
    assert "full" in said[1]
    for _ in range(100):
        journal.end(record("lost"))
        clock.now += 0.01
    assert journal.lost == 101
    assert len(said) == 2
    # What was shipped of our own file can go, because there is a new one.
    for file in read_folder(tmp_path).files()[:-1]:
        (tmp_path / file.name).unlink()
    clock.now += 1
    journal.end(record("kept"))
    assert "101 records were lost" in said[2]
    assert facts(tmp_path) == [record("kept")]
    journal.close()


def test_a_rotation_that_fails_keeps_the_old_file(
    tmp_path: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = FileJournal(tmp_path, 16 * MB, clock)
    journal.begin(attempt("open"))
    opened = os.open

    def refuse(path: str | Path, *more: int) -> int:
        if str(path).endswith(".new"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return opened(path, *more)

    monkeypatch.setattr(os, "open", refuse)
    number = 0
    while not journal.lost:
        journal.end(record(str(number)))
        number += 1
    monkeypatch.setattr(os, "open", opened)
    clock.now += 1
    journal.end(record("after"))
    assert len(read_folder(tmp_path).files()) == 2
    assert facts(tmp_path)[-2:] == [attempt("open"), record("after")]
    assert not list(tmp_path.glob("*.new"))
    journal.close()


@pytest.mark.parametrize("what", ["folder", "file"])
def test_a_journal_that_was_deleted_is_begun_again(
    tmp_path: Path, clock: FakeClock, said: list[str], what: str
) -> None:
    """Deleted by hand to make room: the file would be written to, and read by nobody, until the next start."""
    journal = FileJournal(tmp_path / "journal", MB, clock)
    journal.begin(attempt("open"))
    if what == "folder":
        shutil.rmtree(tmp_path / "journal")
    else:
        for file in (tmp_path / "journal").glob("*.jsonl"):
            file.unlink()
    for number in range(100):
        journal.end(record(str(number)))
    kept = facts(tmp_path / "journal")
    assert attempt("open") in kept
    assert record("99") in kept
    folder = read_folder(tmp_path / "journal")
    assert not all(is_dead(tmp_path / "journal", incarnation) for incarnation in folder.incarnations)
    assert [line for line in said if "was deleted" in line]
    journal.close()


def test_a_fact_after_the_close_is_kept(journal: FileJournal, tmp_path: Path) -> None:
    journal.begin(attempt("a"))
    journal.close()
    journal.end(record("a"))
    assert facts(tmp_path / "journal") == [attempt("a"), record("a")]
    assert len(read_folder(tmp_path / "journal").incarnations) == 2


def test_lines_of_attempts_can_be_told_without_decoding() -> None:
    """The reader skips them by how they start."""
    assert to_line(attempt("a")).startswith(b'{"t":"begin"')
    assert to_line(failed_attempt("a")).startswith(b'{"t":"attempt"')
    assert to_line(record("a")).startswith(b'{"t":"end"')
