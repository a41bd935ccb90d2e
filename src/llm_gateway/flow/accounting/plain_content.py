"""Counts the plain content of a stream, which reaches the client unread."""

from __future__ import annotations

from collections.abc import Iterator

from llm_gateway.flow.accounting.meter import Meter
from llm_gateway.flow.ports.upstream import ChunkSink
from llm_gateway.providers.base import QuietReader


class PlainContent:
    """The plain events of a stream that is passed on unchanged."""

    __slots__ = ("_meter", "_reader", "event_end", "sink")

    def __init__(self, sink: ChunkSink, reader: QuietReader, meter: Meter) -> None:
        self.sink = sink
        self._reader = reader
        self._meter = meter
        self.event_end = reader.plain_event_end

    def passed_on(self, events: Iterator[bytes], size: int) -> None:
        self._meter.response_bytes += size
        self._reader.note_plain(events, size)
