"""The log is one line a message, and shows no secret."""

from __future__ import annotations

import json
import logging
import sys
import warnings
from collections.abc import Iterator
from typing import Literal

import pytest
from loguru import logger

from llm_gateway.core.log_levels import LOG_LEVELS, LogLevel
from llm_gateway.infra.logs.setup import process_log, set_up_logging
from tests.fakes.process_logging import restored_logging


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
    with restored_logging():
        yield Log(capsys)


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
def test_libraries_are_heard_only_when_they_warn(log: Log, level: LogLevel) -> None:
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


@pytest.mark.parametrize(
    "character", ["\x85", "\x9b", "\x7f", "\u2028", "\u2029", "\u202e", "\u2066", "\u200b", "\ud800", "\x1b"]
)
def test_neither_a_message_nor_a_traceback_holds_a_dangerous_character(log: Log, character: str) -> None:
    set_up_logging("info", debug=False)
    logger.warning("a{}b", character)
    logging.getLogger("library").error("a%sb", character)
    try:
        raise ValueError(f"a{character}b")
    except ValueError:
        logger.exception("a{}b", character)
    text = log.getvalue()
    assert character not in text
    assert text.count("\\x" if ord(character) < 0x100 else "\\u") == 4
    assert "Traceback" in text


def test_warnings_are_lines_of_the_log(log: Log) -> None:
    set_up_logging("info", debug=False)
    warnings.simplefilter("always")
    warnings.warn("deprecated\u2028", DeprecationWarning, stacklevel=1)
    [line, *_] = log.getvalue().splitlines()
    assert " WARNING [" in line
    assert "DeprecationWarning: deprecated\\u2028" in line


def test_json_is_an_object_a_line(log: Log) -> None:
    set_up_logging("info", debug=False, form="json")
    logger.info("Serving at {}.\n", "some\nwhere")
    logger.bind(request_id="0190-test").warning("{}", "{braces} <red> a")
    logger.debug("not asked for")
    first, second = map(json.loads, log.getvalue().splitlines())
    assert first.keys() == {"time", "level", "process", "message"}
    assert (first["level"], first["message"]) == ("info", "Serving at some\nwhere.")
    assert first["time"].endswith("Z")
    assert (second["request_id"], second["message"]) == ("0190-test", "{braces} <red> a")


@pytest.mark.parametrize("debug", [False, True])
def test_json_has_the_traceback_as_a_field_and_no_values(log: Log, debug: bool) -> None:
    set_up_logging("info", debug=debug, form="json")

    def call(key: str) -> None:
        raise ValueError(len(key) * 0)

    key = str(b"sk-" + b"hush", "ascii")
    try:
        call(key)
    except ValueError:
        logger.exception("It failed")
    [line] = map(json.loads, log.getvalue().splitlines())
    assert line["message"] == "It failed"
    assert line["traceback"].rstrip().endswith("ValueError: 0")
    assert "sk-hush" not in log.getvalue()
    assert ("source" in line) is debug


def test_json_of_libraries_and_warnings(log: Log) -> None:
    set_up_logging("info", debug=True, form="json")
    logging.getLogger("library").error("a%sb", "\u2028\ud800", extra={"request_id": "0190-test"})
    warnings.simplefilter("always")
    warnings.warn("deprecated\x1b", DeprecationWarning, stacklevel=1)
    text = log.getvalue()
    one, two = map(json.loads, text.splitlines())
    assert (one["source"].split(":")[0], one["level"], one["request_id"]) == ("library", "error", "0190-test")
    assert "deprecated\x1b" in two["message"]
    assert not {"\u2028", "\x1b"} & set(text)


@pytest.mark.parametrize("form", ["text", "json"])
def test_the_level_changes_while_the_process_runs(log: Log, form: Literal["text", "json"]) -> None:
    set_up_logging("info", debug=False, form=form)
    for level in LOG_LEVELS:
        process_log.set_level(level)
        for other in LOG_LEVELS:
            logger.log(other.upper(), "{}-at-{}", other, level)
    text = log.getvalue()
    for number, level in enumerate(LOG_LEVELS):
        shown = [other for other in LOG_LEVELS if text.count(f"{other}-at-{level}") == 1]
        assert shown == list(LOG_LEVELS[number:])
