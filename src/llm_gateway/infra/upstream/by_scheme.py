"""Sends each request through the transport that its URL's scheme asks for."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any

from llm_gateway.flow.ports.upstream import Upstream, UpstreamReply
from llm_gateway.providers.base import UpstreamRequest


class UpstreamByScheme:
    """`simulated://` stays in the process, everything else is HTTP."""

    def __init__(self, *, http: Upstream, simulated: Upstream) -> None:
        """Own both transports."""
        self._http = http
        self._simulated = simulated

    def send(self, request: UpstreamRequest, timeout: float) -> Coroutine[Any, Any, UpstreamReply]:
        """Choose, and return the sending: this is on every request's way, and needs no frame of its own."""
        chosen = self._simulated if request.url.startswith("simulated:") else self._http
        return chosen.send(request, timeout)

    async def close(self) -> None:
        """Drop every connection."""
        await self._http.close()
        await self._simulated.close()
