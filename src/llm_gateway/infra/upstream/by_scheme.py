"""Chooses the transport by the scheme of the URL."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any

from llm_gateway.flow.ports.upstream import PreparedRequest, Upstream, UpstreamReply
from llm_gateway.providers.base import UpstreamRequest


class UpstreamByScheme:
    """Uses `simulated` for `simulated://` URLs, `http` for all others."""

    def __init__(self, *, http: Upstream, simulated: Upstream) -> None:
        self._http = http
        self._simulated = simulated

    def send(self, request: UpstreamRequest, timeout: float) -> Coroutine[Any, Any, UpstreamReply]:
        """Return the awaitable of the chosen transport. Not `async`, to save a frame per request."""
        chosen = self._simulated if request.url.startswith("simulated:") else self._http
        return chosen.send(request, timeout)

    def prepare(self, request: UpstreamRequest, /) -> PreparedRequest | None:
        return (self._simulated if request.url.startswith("simulated:") else self._http).prepare(request)

    async def close(self) -> None:
        await self._http.close()
        await self._simulated.close()
