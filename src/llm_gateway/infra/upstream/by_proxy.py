"""Chooses the transport by HTTP_PROXY, HTTPS_PROXY and NO_PROXY."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from urllib.parse import urlsplit
from urllib.request import proxy_bypass_environment  # type: ignore[attr-defined]  # unknown to typeshed

from llm_gateway.flow.ports.upstream import Upstream, UpstreamReply
from llm_gateway.providers.base import UpstreamRequest


def needs_proxy(environ: Mapping[str, str]) -> bool:
    """Tell whether HTTP_PROXY or HTTPS_PROXY is set, in upper or lower case."""
    return bool(_proxies(environ))


def _proxies(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the proxy of each scheme; the lower-case variable wins, as in other tools."""
    found = {}
    for scheme in ("http", "https", "no"):
        name = f"{scheme}_proxy"
        value = environ.get(name, environ.get(name.upper(), ""))
        if value:
            found[scheme] = value
    bypass = found.pop("no", None)
    return found if bypass is None or not found else {**found, "no": bypass}


class UpstreamByProxy(Upstream):
    """Uses `proxied` for requests that need a proxy, and `direct` for all others."""

    def __init__(self, *, direct: Upstream, proxied: Upstream, environ: Mapping[str, str]) -> None:
        """Own both transports; `proxied` reads the proxy variables itself."""
        self._direct = direct
        self._proxied = proxied
        proxies = _proxies(environ)

        @lru_cache(maxsize=1024)
        def choose(url: str) -> Upstream:
            parts = urlsplit(url)
            if parts.scheme not in proxies or proxy_bypass_environment(parts.netloc, proxies):
                return direct
            return proxied

        self._choose = choose

    async def send(self, request: UpstreamRequest, timeout: float) -> UpstreamReply:
        return await self._choose(request.url).send(request, timeout)

    async def close(self) -> None:
        await self._direct.close()
        await self._proxied.close()
