"""A log whose reader stalls costs lines, never time; what is written is whole, in order, and says what is missing."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from llm_gateway.infra.logs.line_buffer import LONGEST_LINE, LineBuffer


class Pipe:
    """A pipe and what was read from it."""

    def __init__(self) -> None:
        self.reading, self.writing = os.pipe()
        self.received = bytearray()
        self._reader: threading.Thread | None = None

    def fill(self) -> None:
        os.set_blocking(self.writing, False)
        try:
            while True:
                os.write(self.writing, b"f" * 1023 + b"\n")
        except BlockingIOError:
            os.set_blocking(self.writing, True)

    def read(self) -> None:
        def drain() -> None:
            while data := os.read(self.reading, 65536):
                self.received.extend(data)

        self._reader = threading.Thread(target=drain, daemon=True)
        self._reader.start()

    def lines(self) -> list[str]:
        """Close the pipe, and return the lines that were read, without those that filled it."""
        os.close(self.writing)
        if self._reader is None:
            self.read()
        assert self._reader is not None
        self._reader.join(10)
        os.close(self.reading)
        return [line for line in self.received.decode().splitlines() if not line.startswith("ff")]


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    made = Pipe()
    yield made
    for file in (made.reading, made.writing):
        try:
            os.close(file)
        except OSError:
            pass


def report(dropped: int) -> str:
    return f"dropped {dropped}\n"


def test_lines_come_in_order_and_whole_from_many_threads(pipe: Pipe) -> None:
    buffer = LineBuffer(pipe.writing, report)
    pipe.read()

    def say(name: int) -> None:
        for number in range(200):
            buffer.put(f"{name} {number} {'x' * (number * 7)}\n")

    threads = [threading.Thread(target=say, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert buffer.flush(10)
    lines = [line.split() for line in pipe.lines()]
    assert len(lines) == 800
    for name in range(4):
        assert [int(line[1]) for line in lines if line[0] == str(name)] == list(range(200))
    assert all(len(line[2:]) == 0 or line[2] == "x" * (int(line[1]) * 7) for line in lines)


def test_a_reader_that_stalls_costs_lines_and_is_told_how_many(pipe: Pipe) -> None:
    pipe.fill()
    buffer = LineBuffer(pipe.writing, report, max_bytes=1000)
    begun = time.monotonic()
    for number in range(1000):
        buffer.put(f"{number:09}\n")
    assert time.monotonic() - begun < 2
    assert not buffer.flush(0.01)
    dropped = buffer.dropped
    assert 800 < dropped <= 900
    pipe.read()
    assert buffer.flush(10)
    buffer.put("after\n")
    assert buffer.flush(10)
    lines = pipe.lines()
    kept = 1000 - dropped
    assert lines == [*(f"{number:09}" for number in range(kept)), f"dropped {dropped}", "after"]


def test_the_report_stands_where_the_lines_are_missing(pipe: Pipe) -> None:
    pipe.fill()
    buffer = LineBuffer(pipe.writing, report, max_bytes=100)
    for number in range(20):
        buffer.put(f"{number:09}\n")
    os.read(pipe.reading, 65536)
    time.sleep(0.3)
    buffer.put("later\n")
    pipe.read()
    assert buffer.flush(10)
    lines = pipe.lines()
    assert lines[-2:] == [f"dropped {buffer.dropped}", "later"]
    assert sum(line.startswith("dropped") for line in lines) == 1


def test_a_line_is_never_longer_than_an_atomic_write(pipe: Pipe) -> None:
    buffer = LineBuffer(pipe.writing, report)
    pipe.read()
    buffer.put("\u00e9" * 10_000 + "\n" + "short\n")
    assert buffer.flush(10)
    long, short = pipe.lines()
    assert long.startswith("\u00e9\u00e9")
    assert long.endswith("... (cut)")
    assert len(long.encode()) < LONGEST_LINE
    assert short == "short"


def test_processes_that_share_a_pipe_do_not_mix_their_lines(pipe: Pipe) -> None:
    pipe.read()
    children = []
    for letter in "abc":
        child = os.fork()
        if child == 0:
            buffer = LineBuffer(pipe.writing, report, max_bytes=10_000_000)
            for number in range(300):
                buffer.put(letter * (number * 20) + "\n")
            os._exit(0 if buffer.flush(20) else 1)
        children.append(child)
    assert [os.waitpid(child, 0)[1] for child in children] == [0, 0, 0]
    lines = pipe.lines()
    assert len(lines) == 900
    assert all(len(set(line.removesuffix(" ... (cut)"))) <= 1 for line in lines)


def test_a_reader_that_left_costs_lines_only() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    buffer = LineBuffer(writing, report)
    for _ in range(3):
        buffer.put("line\n")
        assert buffer.flush(5)
    assert buffer.dropped == 3
    os.close(writing)


def test_a_full_disk_costs_lines_only() -> None:
    full = os.open("/dev/full", os.O_WRONLY)
    buffer = LineBuffer(full, report)
    for _ in range(3):
        buffer.put("line\n")
        assert buffer.flush(5)
    assert buffer.dropped == 3
    os.close(full)


def test_a_line_that_a_full_disk_cut_does_not_spoil_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = os.open(tmp_path / "log", os.O_WRONLY | os.O_CREAT)
    buffer = LineBuffer(file, report)
    write, room = os.write, [4, 0]

    def fill(descriptor: int, data: bytes) -> int:
        if descriptor != file or not room:
            return write(descriptor, data)
        size = room.pop(0)
        if not size:
            raise OSError(28, "No space left on device")
        return write(descriptor, data[:size])

    monkeypatch.setattr("llm_gateway.infra.logs.line_buffer.os.write", fill)
    buffer.put("first line\n")
    assert buffer.flush(5)
    buffer.put("second\n")
    assert buffer.flush(5)
    os.close(file)
    assert (tmp_path / "log").read_text() == "firs\ndropped 1\nsecond\n"


def test_a_fork_copies_no_line_and_no_lock(pipe: Pipe) -> None:
    pipe.fill()
    buffer = LineBuffer(pipe.writing, report)
    buffer.put("of the parent\n")
    child = os.fork()
    if child == 0:
        buffer.put("of the child\n")
        os._exit(0 if buffer.flush(10) else 1)
    buffer.put("of the parent again\n")
    pipe.read()
    assert os.waitpid(child, 0)[1] == 0
    assert buffer.flush(10)
    assert sorted(pipe.lines()) == ["of the child", "of the parent", "of the parent again"]


def test_the_thread_ends_with_the_lines(pipe: Pipe) -> None:
    buffer = LineBuffer(pipe.writing, report)
    buffer.put("line\n")
    assert buffer.flush(5)
    deadline = time.monotonic() + 5
    while any(thread.name == "log-writer" for thread in threading.enumerate()):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    buffer.put("another\n")
    assert buffer.flush(5)
    assert pipe.lines() == ["line", "another"]
