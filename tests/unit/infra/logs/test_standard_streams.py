"""Whatever is printed goes through the buffers, and neither a print nor the end of the process waits for a reader."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

PROTECT = """
import sys
from llm_gateway.infra.logs.standard_streams import standard_streams
standard_streams.protect()
"""
FILL = """
import os
os.set_blocking(1, False)
try:
    while True:
        os.write(1, b"f" * 1023 + b"\\n")
except BlockingIOError:
    pass
os.set_blocking(1, True)
"""
SPEAKERS = {
    "print": "print('said', file=sys.stderr, flush=True)",
    "output": "print('said', flush=True)",
    "warning": "import warnings; warnings.simplefilter('always'); warnings.warn('said')",
    "thread": "import threading; t = threading.Thread(target=lambda: 1 / 0); t.start(); t.join()",
    "unraisable": "exec('class A:\\n def __del__(self): 1 / 0'); A()",
    "logging": "import logging; logging.getLogger('said').error('said')",
    "traceback": "import traceback; traceback.print_stack()",
    "loop": "import asyncio\nasync def main():\n for _ in range(50): print('said', flush=True)\nasyncio.run(main())",
    "loguru": "from llm_gateway.infra.logs.setup import set_up_logging; from loguru import logger\n"
    "set_up_logging('info', debug=False)\nfor _ in range(5000): logger.error('said' * 100)",
    "crash": "raise ValueError('said')",
    "exit": "sys.exit('said')",
}


def start(code: str, *, stdout: int, stderr: int) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", code]
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr)


@pytest.mark.parametrize("speaker", SPEAKERS)
def test_no_voice_waits_for_a_reader_that_stalls(speaker: str) -> None:
    reading, writing = os.pipe()
    begun = time.monotonic()
    process = start(FILL + PROTECT + SPEAKERS[speaker], stdout=writing, stderr=writing)
    os.close(writing)
    try:
        process.wait(15)
    finally:
        process.kill()
        os.close(reading)
    assert time.monotonic() - begun < 10


@pytest.mark.parametrize("speaker", SPEAKERS)
def test_every_voice_is_heard(speaker: str) -> None:
    process = start(PROTECT + SPEAKERS[speaker], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    output = process.communicate(timeout=15)[0].decode()
    assert "said" in output or "ZeroDivisionError" in output or "<string>" in output


def test_a_process_that_dies_of_a_signal_does_not_hang_on_its_last_words() -> None:
    reading, writing = os.pipe()
    crash = "import faulthandler; faulthandler.enable(); faulthandler._sigsegv()"
    process = start(FILL + PROTECT + crash, stdout=writing, stderr=writing)
    os.close(writing)
    try:
        assert process.wait(15) < 0
    finally:
        process.kill()
        os.close(reading)


def test_the_pipe_of_others_stays_as_it_was() -> None:
    reading, writing = os.pipe()
    process = start(PROTECT + "print('x')", stdout=writing, stderr=writing)
    process.wait(15)
    assert os.get_blocking(writing)
    os.close(writing)
    assert os.read(reading, 100) == b"x\n"
    os.close(reading)


@pytest.mark.parametrize("closed", ["1", "2"])
def test_a_closed_stream_is_left_alone(closed: str) -> None:
    code = PROTECT + "import os; print(sys.stdout is None, sys.stderr is None, file=sys.stdout or sys.stderr)"
    done = subprocess.run(
        ["/bin/sh", "-c", f'exec "$0" -c "$1" {closed}>&-', sys.executable, code],
        capture_output=True,
        timeout=15,
        check=True,
    )
    assert (done.stdout + done.stderr).split() == [b"True", b"False"][:: 1 if closed == "1" else -1]


@pytest.mark.parametrize("output", ["/dev/full", "/dev/null"])
def test_a_full_device_does_not_end_it(output: str) -> None:
    code = PROTECT + "print('x' * 10_000, flush=True)\nsys.stderr.write('y')"
    with Path(output).open("wb") as file:
        assert start(code, stdout=file.fileno(), stderr=file.fileno()).wait(15) == 0
