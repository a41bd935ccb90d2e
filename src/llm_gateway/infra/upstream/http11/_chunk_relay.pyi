from collections.abc import Callable
from typing import Self

from llm_gateway.flow.ports.upstream import ChunkSink, QuietContent
from llm_gateway.infra.upstream.http11.quiet_relay import RelayingConnection

class ChunkReceiver:
    def __new__(
        cls,
        connection: RelayingConnection,
        now: Callable[[], float] | None,
        content: QuietContent,
        sink: ChunkSink,
    ) -> Self: ...
    def receive(self, data: bytes, /) -> None: ...
    def settle(self) -> None: ...
    def silence(self) -> float: ...
