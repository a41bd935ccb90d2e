"""Samples the start of a stream, to count tokens from when the provider does not state them all."""

from __future__ import annotations

from llm_gateway.providers.base import StreamSample

_SAMPLE_BYTES = 256 * 1024


class StreamSampler:
    """Collects blocks of whole events up to a fixed size."""

    __slots__ = ("_blocks", "_sampled_bytes", "_total_bytes")

    def __init__(self) -> None:
        self._blocks: list[bytes] = []
        self._sampled_bytes = 0
        self._total_bytes = 0

    def add(self, block: bytes) -> None:
        """Count a block, and sample it if it fits in."""
        size = len(block)
        self._total_bytes += size
        if (sampled := self._sampled_bytes + size) <= _SAMPLE_BYTES:
            self._sampled_bytes = sampled
            self._blocks.append(block)

    def value(self) -> StreamSample:
        return StreamSample(tuple(self._blocks), self._sampled_bytes, self._total_bytes)
