"""Keeps the first part of what a stream relayed, so that it can be counted when the provider does not count."""

from __future__ import annotations

from llm_gateway.providers.base import StreamSample

_SAMPLE_BYTES = 256 * 1024


class StreamSampler:
    """Blocks of whole events, as long as somebody may want them."""

    __slots__ = ("_blocks", "_sampled_bytes", "_total_bytes")

    def __init__(self) -> None:
        """Start with none."""
        self._blocks: list[bytes] = []
        self._sampled_bytes = 0
        self._total_bytes = 0

    def add(self, block: bytes, *, wanted: bool) -> None:
        """Take note of a block; forget them all once they are not `wanted` any more."""
        self._total_bytes += len(block)
        if not wanted:
            self._blocks.clear()
        elif self._sampled_bytes + len(block) <= _SAMPLE_BYTES:
            self._sampled_bytes += len(block)
            self._blocks.append(block)

    def value(self) -> StreamSample:
        """Return what is kept."""
        return StreamSample(tuple(self._blocks), self._sampled_bytes, self._total_bytes)
