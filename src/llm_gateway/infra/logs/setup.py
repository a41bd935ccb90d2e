"""Sets up the log: every line through loguru to standard error, and no value of a variable in any of them."""

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
# A message is one line, whatever a client put into it.
_ESCAPES = {code: f"\\x{code:02x}" for code in (*range(32), 127) if chr(code) not in "\t\n"} | {10: "\\n"}


def set_up_logging(level: str, *, debug: bool) -> None:
    """Log lines of at least `level` (trace ... critical); `debug` adds debug lines and longer tracebacks.

    What libraries log through `logging` comes too, but only warnings and worse: below that some of them
    (aiosqlite, SQLAlchemy, httpx) write SQL parameters and URLs, and so secrets. Call it once, before
    processes are forked.
    """
    least = logger.level(level.upper())
    if debug and least.no > logger.level("DEBUG").no:
        least = logger.level("DEBUG")
    logger.remove()
    logger.configure(patcher=_make_line)
    # With no standard error there is nobody to tell.
    if sys.stderr is not None:
        logger.add(
            sys.stderr,
            level=least.no,
            format=_DEBUG_FORMAT if debug else _FORMAT,
            backtrace=debug,
            # Never: it would print the values of local variables, and so keys.
            diagnose=False,
        )
    logging.basicConfig(handlers=[_ToLoguru()], level=logging.WARNING, force=True)
    if debug:
        logging.getLogger("uvicorn.error").setLevel(logging.INFO)


def _make_line(record: Record) -> None:
    record["extra"]["line"] = record["message"].rstrip().translate(_ESCAPES)


class _ToLoguru(logging.Handler):
    """Hands the standard library's records on."""

    def emit(self, record: logging.LogRecord) -> None:
        """Log the record as from where it was logged."""
        try:
            level: str | int = logger.level(record.levelname).name
        except ValueError:
            level = record.levelno
        name, line = record.name, record.lineno

        def place(made: Record) -> None:
            made["name"], made["line"] = name, line

        logger.patch(place).opt(exception=record.exc_info).log(level, "{}", record.getMessage())
