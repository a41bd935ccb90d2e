"""Sends each request through the transport that its URL's scheme asks for."""

from __future__ import annotations

from llm_gateway.flow.ports import Upstream, UpstreamReply
from llm_gateway.providers.base import UpstreamRequest


class UpstreamByScheme:
    """`simulated://` stays in the process, everything else is HTTP."""

    def __init__(self, *, http: Upstream, simulated: Upstream) -> None:
        """Own both transports."""
        self._http = http
        self._simulated = simulated

    async def send(self, request: UpstreamRequest, timeout: float) -> UpstreamReply:
        """Choose and send."""
        if request.url.startswith("simulated:"):
            return await self._simulated.send(request, timeout)
        return await self._http.send(request, timeout)

    async def close(self) -> None:
        """Drop every connection."""
        await self._http.close()
        await self._simulated.close()
