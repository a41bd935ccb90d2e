"""Lines are written whole, in order and off the event loop; a failure reaches the caller."""

from __future__ import annotations

import asyncio
import os
import threading
from pathlib import Path

import pytest

from llm_gateway.infra.logs.line_writer import LineWriter


async def test_lines_are_written_in_order(tmp_path: Path) -> None:
    file = os.open(tmp_path / "out", os.O_WRONLY | os.O_CREAT)
    writer = LineWriter(file)
    for number in range(3):
        await writer.write(b"%d a\n%d b\n" % (number, number))
    writer.stop()
    os.close(file)
    assert (tmp_path / "out").read_text().split("\n") == ["0 a", "0 b", "1 a", "1 b", "2 a", "2 b", ""]


async def test_a_pipe_that_blocks_does_not_block_the_loop() -> None:
    reading, writing = os.pipe()
    writer = LineWriter(writing)
    line = b"x" * 1023 + b"\n"
    task = asyncio.create_task(writer.write(line * 1000))
    await asyncio.sleep(0.05)
    assert not task.done()
    received = 0
    while received < 1000 * len(line):
        received += len(await asyncio.to_thread(os.read, reading, 65536))
    await task
    writer.stop()
    os.close(reading)
    os.close(writing)


async def test_a_failure_is_raised_and_the_next_lines_are_tried(tmp_path: Path) -> None:
    full = os.open("/dev/full", os.O_WRONLY)
    writer = LineWriter(full)
    for _ in range(2):
        with pytest.raises(OSError, match="No space left"):
            await writer.write(b"line\n")
    writer.stop()
    os.close(full)


async def test_the_thread_ends_with_stop_and_never_delays_the_exit(tmp_path: Path) -> None:
    file = os.open(tmp_path / "out", os.O_WRONLY | os.O_CREAT)
    before = set(threading.enumerate())
    writer = LineWriter(file)
    await writer.write(b"line\n")
    (thread,) = set(threading.enumerate()) - before
    assert thread.daemon
    writer.stop()
    await asyncio.to_thread(thread.join, 5)
    assert not thread.is_alive()
    os.close(file)
