"""Logging setup: loguru to standard error, one line per message, no values of variables."""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING

from loguru import logger

if TYPE_CHECKING:
    from loguru import Record

_FORMAT = "{time:YYYY-MM-DD HH:mm:ss.SSS} <level>{level: <7}</level> [{process}] {extra[line]}"
_DEBUG_FORMAT = (
    "{time:YYYY-MM-DD HH:mm:ss.SSS} <level>{level: <7}</level> [{process}] {name}:{line} {extra[line]}"
)
# Keeps a message on one line, whatever text of a client it contains.
_ESCAPES = {code: f"\\x{code:02x}" for code in (*range(32), 127) if chr(code) not in "\t\n"} | {10: "\\n"}


def set_up_logging(level: str, *, debug: bool) -> None:
    """Log messages of at least `level` (trace ... critical); `debug` adds debug messages and longer tracebacks.

    Messages that libraries send to `logging` are included from warning level up: below that, some libraries
    (aiosqlite, SQLAlchemy, httpx) log SQL parameters and URLs, which contain secrets. Call it once, before
    processes are forked.
    """
    least = logger.level(level.upper())
    if debug and least.no > logger.level("DEBUG").no:
        least = logger.level("DEBUG")
    logger.remove()
    logger.configure(patcher=_make_line)
    # Standard error may be closed.
    if sys.stderr is not None:
        logger.add(
            sys.stderr,
            level=least.no,
            format=_DEBUG_FORMAT if debug else _FORMAT,
            backtrace=debug,
            # Must stay off: it prints the values of local variables, among them keys.
            diagnose=False,
        )
    logging.basicConfig(handlers=[_ToLoguru()], level=logging.WARNING, force=True)
    if debug:
        logging.getLogger("uvicorn.error").setLevel(logging.INFO)


def _make_line(record: Record) -> None:
    record["extra"]["line"] = record["message"].rstrip().translate(_ESCAPES)


class _ToLoguru(logging.Handler):
    """Forwards records of the standard library to loguru."""

    def emit(self, record: logging.LogRecord) -> None:
        """Log the record with its original module and line."""
        try:
            level: str | int = logger.level(record.levelname).name
        except ValueError:
            level = record.levelno
        name, line = record.name, record.lineno

        def place(made: Record) -> None:
            made["name"], made["line"] = name, line

        logger.patch(place).opt(exception=record.exc_info).log(level, "{}", record.getMessage())
