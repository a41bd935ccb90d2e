"""Counts the plain content of a stream, which reaches the client unread."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import msgspec

from llm_gateway.flow.accounting.meter import Meter
from llm_gateway.flow.ports.upstream import ChunkSink
from llm_gateway.providers.base import QuietReader


class PlainContent(msgspec.Struct):
    """The plain events of a stream that is passed on unchanged; made by position."""

    # What a client and a provider sent must not appear in logs and tracebacks by accident.
    __repr__ = object.__repr__

    sink: ChunkSink
    _reader: QuietReader
    _meter: Meter
    # The reader's `plain_event_end`.
    event_end: Callable[[], bytes]

    def passed_on(self, events: Iterator[bytes], size: int) -> None:
        self._meter.response_bytes += size
        self._reader.note_plain(events, size)
