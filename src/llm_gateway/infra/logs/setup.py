"""Logging setup: loguru to standard error, one line per message, no values of variables."""

from __future__ import annotations

import logging
import os
import sys
import traceback
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal, TextIO

from loguru import logger

from llm_gateway.core.log_levels import LogLevel
from llm_gateway.infra.logs.escaping import block, one_line
from llm_gateway.infra.logs.json_messages import LogMessage, json_time, message_line
from llm_gateway.infra.logs.standard_streams import standard_streams

if TYPE_CHECKING:
    from loguru import Record

LogFormat = Literal["text", "json"]

_FORMAT = "{time:YYYY-MM-DD HH:mm:ss.SSS} <level>{level: <7}</level> [{process}] {extra[line]}\n"
_DEBUG_FORMAT = (
    "{time:YYYY-MM-DD HH:mm:ss.SSS} <level>{level: <7}</level> [{process}] {name}:{line} {extra[line]}\n"
)
_WITH_TRACEBACK = "{extra[traceback]}"
# The key under which a message carries the request that it is about: `logger.bind(request_id=...)`.
REQUEST_ID = "request_id"


class ProcessLog:
    """What this process logs on standard error; workers inherit it when they are forked."""

    def __init__(self) -> None:
        self.level: LogLevel = "info"
        self._is_debug = False
        self._form: LogFormat = "text"
        # loguru's number of the handler; None before the setup, and while standard error is closed.
        self._handler: int | None = None

    def set_up(self, level: LogLevel, *, debug: bool, form: LogFormat) -> None:
        """Begin to log; call it once."""
        self._is_debug, self._form = debug, form
        logger.remove()
        self._handler = None
        logger.configure(patcher=_make_line if form == "text" else lambda _: None)
        if form == "json":
            standard_streams.use_json()
        if debug and logger.level(level.upper()).no > logger.level("DEBUG").no:
            level = "debug"
        self.set_level(level)

    def set_level(self, level: LogLevel) -> None:
        """Log messages of at least `level` from now on."""
        before, self.level = self._handler, level
        # Standard error may be closed.
        if sys.stderr is None:
            return
        buffer = standard_streams.error
        # The new one first: no message is lost in between.
        self._handler = logger.add(
            sys.stderr if buffer is None else buffer.put,
            level=level.upper(),
            format=self._format(),
            colorize=False if self._form == "json" else None if buffer is None else _is_coloured(sys.stderr),
            # Must stay off: it prints the values of local variables, among them keys.
            diagnose=False,
        )
        if before is not None:
            logger.remove(before)

    def _format(self) -> Callable[[Record], str]:
        if self._form == "json":
            return self._make_json
        shown = _DEBUG_FORMAT if self._is_debug else _FORMAT
        return lambda record: shown if record["exception"] is None else shown + _WITH_TRACEBACK

    def _make_json(self, record: Record) -> str:
        """Make the line, and return where it is found; not a patcher, because others may follow that one."""
        failure, request_id = record["exception"], record["extra"].get(REQUEST_ID)
        message = LogMessage(
            time=json_time(record["time"]),
            level=record["level"].name.lower(),
            process=record["process"].id,
            message=record["message"].rstrip(),
            request_id=None if request_id is None else str(request_id),
            source=f"{record['name']}:{record['line']}" if self._is_debug else None,
            traceback=None if failure is None else "".join(traceback.format_exception(*failure)),
        )
        record["extra"]["line"] = message_line(message)
        return "{extra[line]}"


process_log = ProcessLog()


def set_up_logging(level: LogLevel, *, debug: bool, form: LogFormat = "text") -> None:
    """Log messages of at least `level`; `debug` adds debug messages and their modules.

    Messages that libraries send to `logging` are included from warning level up: below that, some libraries
    (aiosqlite, SQLAlchemy, httpx) log SQL parameters and URLs, which contain secrets. Call it once, before
    processes are forked.
    """
    process_log.set_up(level, debug=debug, form=form)
    logging.captureWarnings(True)
    logging.basicConfig(handlers=[_ToLoguru()], level=logging.WARNING, force=True)
    if debug:
        logging.getLogger("uvicorn.error").setLevel(logging.INFO)


def _make_line(record: Record) -> None:
    record["extra"]["line"] = one_line(record["message"].rstrip())
    failure = record["exception"]
    if failure is not None:
        record["extra"]["traceback"] = block("".join(traceback.format_exception(*failure)))


def _is_coloured(stream: TextIO) -> bool:
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


class _ToLoguru(logging.Handler):
    """Forwards records of the standard library to loguru."""

    def emit(self, record: logging.LogRecord) -> None:
        """Log the record with its original module and line, and its request if it has one (`extra`)."""
        try:
            level: str | int = logger.level(record.levelname).name
        except ValueError:
            level = record.levelno
        name, line = record.name, record.lineno

        def place(made: Record) -> None:
            made["name"], made["line"] = name, line

        request_id = getattr(record, REQUEST_ID, None)
        about = logger if request_id is None else logger.bind(request_id=request_id)
        about.patch(place).opt(exception=record.exc_info).log(level, "{}", record.getMessage())
