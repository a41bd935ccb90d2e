"""Samples the start of a stream, to count tokens from when the provider reports no usage."""

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

    def add(self, block: bytes, *, wanted: bool) -> None:
        """Count a block and sample it; drop the whole sample once it is no longer `wanted`."""
        self._total_bytes += len(block)
        if not wanted:
            self._blocks.clear()
        elif self._sampled_bytes + len(block) <= _SAMPLE_BYTES:
            self._sampled_bytes += len(block)
            self._blocks.append(block)

    def value(self) -> StreamSample:
        return StreamSample(tuple(self._blocks), self._sampled_bytes, self._total_bytes)
