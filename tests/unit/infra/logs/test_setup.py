"""The log is one line a message, and shows no secret."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator

import pytest
from loguru import logger

from llm_gateway.infra.logs.setup import set_up_logging


class Log:
    """What was written to standard error so far."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys
        self._text = ""

    def getvalue(self) -> str:
        self._text += self._capsys.readouterr().err
        return self._text


@pytest.fixture
def log(capsys: pytest.CaptureFixture[str]) -> Iterator[Log]:
    """The log of the test; loguru and logging are as before afterwards."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    uvicorn_level = logging.getLogger("uvicorn.error").level
    yield Log(capsys)
    logger.remove()
    logger.configure(patcher=lambda record: None)
    logger.add(sys.__stderr__ or sys.stderr)
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.getLogger("uvicorn.error").setLevel(uvicorn_level)


def test_a_line_has_time_level_process_and_message(log: Log) -> None:
    set_up_logging("info", debug=False)
    logger.info("Serving at {}.", "somewhere")
    logger.debug("not asked for")
    assert log.getvalue().count("\n") == 1
    assert log.getvalue().endswith("] Serving at somewhere.\n")
    assert " INFO    [" in log.getvalue()


def test_a_message_stays_one_line_whatever_is_in_it(log: Log) -> None:
    set_up_logging("info", debug=False)
    logger.warning("path {}", "/a\r\nb\x1b[31m {braces} <red>")
    assert log.getvalue().endswith("] path /a\\x0d\\nb\\x1b[31m {braces} <red>\n")


@pytest.mark.parametrize("debug", [False, True])
def test_a_traceback_shows_no_values(log: Log, debug: bool) -> None:
    set_up_logging("info", debug=debug)

    def call(key: str) -> None:
        raise ValueError(len(key) * 0)

    try:
        call("sk-hush")
    except ValueError:
        logger.exception("It failed")
    assert "ValueError: 0" in log.getvalue()
    assert "raise ValueError" in log.getvalue()
    # Only where the source itself says it.
    assert all('call("sk-hush")' in line for line in log.getvalue().splitlines() if "sk-hush" in line)


@pytest.mark.parametrize("level", ["trace", "debug", "info"])
def test_libraries_are_heard_only_when_they_warn(log: Log, level: str) -> None:
    set_up_logging(level, debug=True)
    for name in ("aiosqlite", "sqlalchemy.engine", "httpx", "asyncio"):
        logging.getLogger(name).debug("secret")
        logging.getLogger(name).info("secret")
        logging.getLogger(name).warning("%s of %s", "warning", name)
    assert "secret" not in log.getvalue()
    assert [line.rsplit(" ", 1)[1] for line in log.getvalue().splitlines()] == [
        "aiosqlite",
        "sqlalchemy.engine",
        "httpx",
        "asyncio",
    ]
    assert "aiosqlite:" in log.getvalue()


def test_debug_shows_debug_lines_and_keeps_a_lower_level(log: Log) -> None:
    set_up_logging("error", debug=True)
    logger.debug("shown")
    logger.trace("hidden")
    assert "shown" in log.getvalue()
    assert "hidden" not in log.getvalue()
    set_up_logging("trace", debug=True)
    logger.trace("now too")
    assert "now too" in log.getvalue()


def test_nothing_breaks_without_a_standard_error(monkeypatch: pytest.MonkeyPatch, log: Log) -> None:
    monkeypatch.setattr(sys, "stderr", None)
    set_up_logging("info", debug=False)
    logger.error("to nobody")
