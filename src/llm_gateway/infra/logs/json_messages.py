"""Messages of the log as JSON: one object a line, never longer than what is written to a pipe at once."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

import msgspec

from llm_gateway.infra.logs.escaping import json_line
from llm_gateway.infra.logs.line_buffer import LONGEST_LINE

_encode = msgspec.json.Encoder().encode
_CUT: Final = " ... (cut) "
# A text that is too long for its line is cut to this share of its length, again and again.
_SHARE: Final = 0.75


class LogMessage(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One message. `source` is the module and line that logged it, `process` the id of the process."""

    time: str
    level: str
    process: int
    message: str
    request_id: str | None = None
    source: str | None = None
    traceback: str | None = None


def json_time(moment: datetime) -> str:
    """Return a time as RFC 3339 in UTC, as the access log has it."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def message_line(message: LogMessage) -> str:
    """Return the message as a line; of a long traceback its end stays, of a long text its beginning."""
    line = _encoded(message)
    while len(line) > LONGEST_LINE and message.traceback:
        message.traceback = _end_of(message.traceback)
        line = _encoded(message)
    while len(line) > LONGEST_LINE and message.message:
        message.message = message.message.removesuffix(_CUT)
        message.message = message.message[: int(len(message.message) * _SHARE)] + _CUT
        line = _encoded(message)
    return line.decode()


def _end_of(text: str) -> str:
    rest = text.removeprefix(_CUT)
    rest = rest[len(rest) - int(len(rest) * _SHARE) :]
    return _CUT + rest if rest else ""


def _encoded(message: LogMessage) -> bytes:
    try:
        return json_line(_encode(message) + b"\n")
    except UnicodeEncodeError:
        for name in ("message", "request_id", "source", "traceback"):
            if (text := getattr(message, name)) is not None:
                setattr(message, name, text.encode("utf-8", "backslashreplace").decode())
        return json_line(_encode(message) + b"\n")
