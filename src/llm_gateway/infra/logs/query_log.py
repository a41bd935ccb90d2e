"""The log of queries: a JSON line for each on standard output, with the text that the client sent."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

import msgspec

from llm_gateway.flow.ports.query_log import LoggedQuery, QueryLog
from llm_gateway.infra.logs.escaping import json_line
from llm_gateway.infra.logs.line_buffer import LONGEST_LINE
from llm_gateway.infra.logs.standard_streams import standard_streams

_encode = msgspec.json.Encoder().encode
# A query that is too long for its line is cut to this share of its length, again and again.
_SHARE: Final = 0.75


class _Line(msgspec.Struct, kw_only=True, omit_defaults=True):
    timestamp: str
    event: str
    request_id: str
    client_request_id: str | None
    model: str
    task_type: str | None
    query: str
    # Characters of the whole query, if the line has only its beginning.
    query_length: int | None = None


class StandardOutputQueryLog(QueryLog):
    """Writes lines of at most `LONGEST_LINE` bytes; a reader that stalls costs lines, not requests."""

    def __init__(self, put: Callable[[str], None] | None = None) -> None:
        """`put` takes lines in place of standard output."""
        self._put = put

    def query(self, query: LoggedQuery) -> None:
        put = self._put
        if put is None:
            output = standard_streams.output
            if output is None:
                # It was closed.
                return
            put = output.put
        put(_line(query))


def _line(query: LoggedQuery) -> str:
    moment = datetime.fromtimestamp(query.created_at / 1e6, UTC)
    line = _Line(
        timestamp=moment.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        event="query",
        request_id=query.request_id,
        client_request_id=query.client_request_id,
        model=query.model[:200],
        task_type=query.task_type,
        query=query.query,
    )
    if len(line.query) > LONGEST_LINE:
        line.query, line.query_length = line.query[:LONGEST_LINE], len(query.query)
    encoded = _encoded(line)
    while len(encoded) > LONGEST_LINE and line.query:
        line.query, line.query_length = line.query[: int(len(line.query) * _SHARE)], len(query.query)
        encoded = _encoded(line)
    return encoded.decode()


def _encoded(line: _Line) -> bytes:
    return json_line(_encode(line) + b"\n")
