"""Chooses the transport by HTTP_PROXY, HTTPS_PROXY and NO_PROXY."""

from __future__ import annotations

from llm_gateway.flow.ports.upstream import PreparedRequest, Upstream, UpstreamReply
from llm_gateway.infra.upstream.proxies import ProxySettings
from llm_gateway.providers.base import UpstreamRequest


class UpstreamByProxy(Upstream):
    """Uses `proxied` for requests that need a proxy, and `direct` for all others."""

    def __init__(self, *, direct: Upstream, proxied: Upstream, proxies: ProxySettings) -> None:
        """Own both transports; `proxied` has the same settings."""
        self._direct = direct
        self._proxied = proxied
        self._proxies = proxies

    async def send(self, request: UpstreamRequest, timeout: float) -> UpstreamReply:
        upstream = self._direct if self._proxies.find(request.url) is None else self._proxied
        return await upstream.send(request, timeout)

    def prepare(self, request: UpstreamRequest, /) -> PreparedRequest | None:
        upstream = self._direct if self._proxies.find(request.url) is None else self._proxied
        return upstream.prepare(request)

    async def close(self) -> None:
        await self._direct.close()
        await self._proxied.close()
