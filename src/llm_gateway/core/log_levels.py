"""The levels of the log, least important first."""

from __future__ import annotations

from typing import Final, Literal, get_args

LogLevel = Literal["trace", "debug", "info", "warning", "error", "critical"]
LOG_LEVELS: Final[tuple[LogLevel, ...]] = get_args(LogLevel)
