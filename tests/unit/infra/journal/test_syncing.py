"""The journal is synced: regularly, or before a record counts as kept; a disk that fails is reported once."""

from __future__ import annotations

import errno
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from loguru import logger

from llm_gateway.infra.clock import SystemClock
from llm_gateway.infra.journal.files import read_folder
from llm_gateway.infra.journal.reader import JournalReader
from llm_gateway.infra.journal.rejected import RejectedRecords
from llm_gateway.infra.journal.syncing import JournalSync
from llm_gateway.infra.journal.writer import FileJournal
from llm_gateway.infra.json_lines import to_line
from tests.fakes.usage_records import attempt, record

MB = 1024 * 1024


class Disk:
    """Notes what each sync found in the file, and may fail."""

    def __init__(self) -> None:
        self.synced: list[bytes] = []
        self.fails = False
        self.threads: set[int] = set()

    def __call__(self, file: int) -> None:
        if self.fails:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        os.fdatasync(file)
        self.threads.add(threading.get_ident())
        self.synced.append(Path(f"/proc/self/fd/{file}").read_bytes())


@pytest.fixture
def disk() -> Disk:
    return Disk()


@pytest.fixture
def said() -> Iterator[list[str]]:
    lines: list[str] = []
    handler = logger.add(lambda message: lines.append(message.record["message"]), level="INFO")
    yield lines
    logger.remove(handler)


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def make(
    folder: Path, disk: Disk, *, max_bytes: int = 64 * MB, interval: float = 0.02, always: bool = False
) -> FileJournal:
    sync = JournalSync(interval=interval, sync=disk)
    return FileJournal(folder, max_bytes, SystemClock(), sync=sync, syncs_ends=always)


def test_what_is_written_is_synced_in_another_thread(tmp_path: Path, disk: Disk) -> None:
    journal = make(tmp_path / "journal", disk)
    journal.begin(attempt("a"))
    journal.end(record("a"))
    until(lambda: bool(disk.synced) and disk.synced[-1].endswith(to_line(record("a"))))
    assert threading.get_ident() not in disk.threads
    journal.close()


def test_many_records_share_a_sync_and_none_is_made_for_none(tmp_path: Path, disk: Disk) -> None:
    journal = make(tmp_path / "journal", disk, interval=0.2)
    until(lambda: len(disk.synced) == 1)
    for number in range(500):
        journal.end(record(str(number)))
    until(lambda: disk.synced[-1].count(b"\n") == 500)
    syncs = len(disk.synced)
    assert syncs <= 4
    time.sleep(0.5)
    assert len(disk.synced) == syncs
    journal.close()


def test_always_means_before_the_end_returns(tmp_path: Path, disk: Disk) -> None:
    journal = make(tmp_path / "journal", disk, interval=3600, always=True)
    journal.begin(attempt("a"))
    for number in range(20):
        journal.end(record(str(number)))
        assert disk.synced[-1].endswith(to_line(record(str(number))))
        assert disk.threads >= {threading.get_ident()}
    journal.close()


def test_every_file_is_synced_to_its_end_and_so_is_the_folder(
    tmp_path: Path, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders: list[str] = []
    fsync = os.fsync

    def note(handle: int) -> None:
        folders.append(str(Path(f"/proc/self/fd/{handle}").readlink()))
        fsync(handle)

    monkeypatch.setattr(os, "fsync", note)
    folder = tmp_path / "databases" / "id" / "journal"
    journal = make(folder, disk, max_bytes=1 * MB)
    for number in range(3000):
        journal.end(record(str(number)))
    journal.close()
    found = read_folder(folder).files()
    assert len(found) > 1
    assert {(folder / file.name).read_bytes() for file in found} <= set(disk.synced)
    assert {str(folder), str(folder.parent), str(folder.parent.parent)} <= set(folders)


def test_no_file_stays_open(tmp_path: Path, disk: Disk) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    journal = make(tmp_path / "journal", disk, max_bytes=1 * MB)
    for number in range(3000):
        journal.end(record(str(number)))
    journal.close()
    assert len(list(Path("/proc/self/fd").iterdir())) == before
    # A later record opens a new file, with a new thread.
    journal.end(record("later"))
    until(lambda: disk.synced[-1] == to_line(record("later")))
    journal.close()
    assert len(list(Path("/proc/self/fd").iterdir())) == before
    assert not [one for one in threading.enumerate() if one.name == "journal-sync"]


@pytest.mark.parametrize("always", [False, True])
def test_a_disk_that_fails_is_reported_once_and_counted(
    tmp_path: Path, disk: Disk, said: list[str], always: bool
) -> None:
    disk.fails = True
    journal = make(tmp_path / "journal", disk, always=always)
    for number in range(5):
        journal.end(record(str(number)))
        failures = journal.sync_failures
        until(lambda failures=failures: always or journal.sync_failures > failures)  # type: ignore[misc]
    assert journal.sync_failures >= 5
    assert journal.lost == 0
    assert len([line for line in said if "Cannot sync the usage journal" in line]) == 1
    disk.fails = False
    journal.end(record("well"))
    until(lambda: bool(disk.synced) and disk.synced[-1].endswith(to_line(record("well"))))
    disk.fails = True
    journal.end(record("again"))
    until(lambda: len([line for line in said if "Cannot sync the usage journal" in line]) == 2)
    journal.close()


async def test_a_file_goes_only_once_its_successor_is_on_disk(
    tmp_path: Path, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "journal"
    journal = make(folder, disk, max_bytes=1 * MB)
    journal.begin(attempt("open"))
    for number in range(3000):
        journal.end(record(str(number)))
    steps: list[str] = []
    fsync, unlink = os.fsync, Path.unlink

    def note_sync(handle: int) -> None:
        steps.append("sync " + Path(f"/proc/self/fd/{handle}").readlink().name)
        fsync(handle)

    def note_unlink(path: Path, *, missing_ok: bool = False) -> None:
        steps.append("delete " + path.name)
        unlink(path, missing_ok=missing_ok)

    first, second = [file.name for file in read_folder(folder).files()][:2]
    reader = JournalReader(folder, RejectedRecords(tmp_path / "rejected"), is_synced=True)
    # The rest of the folder is synced by the journal's own thread.
    journal.close()
    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", note_sync)
        patched.setattr(Path, "unlink", note_unlink)
        more = True
        while more:
            _, more = await reader.collect(1000)
            await reader.commit()
    reader.close()
    assert steps.index(f"sync {second}") < steps.index(f"delete {first}")
    assert steps.index("sync journal") < steps.index(f"delete {first}")
