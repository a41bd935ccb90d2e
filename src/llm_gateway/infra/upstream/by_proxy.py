"""Sends requests that must go through an HTTP proxy by the transport that speaks to proxies."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from urllib.parse import urlsplit
from urllib.request import proxy_bypass_environment  # type: ignore[attr-defined]  # unknown to typeshed

from llm_gateway.flow.ports.upstream import Upstream, UpstreamReply
from llm_gateway.providers.base import UpstreamRequest


def needs_proxy(environ: Mapping[str, str]) -> bool:
    """Tell whether HTTP_PROXY or HTTPS_PROXY is set, in either case of letters."""
    return bool(_proxies(environ))


def _proxies(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the proxy of each scheme; as everywhere, the lower-case variable wins."""
    found = {}
    for scheme in ("http", "https", "no"):
        name = f"{scheme}_proxy"
        value = environ.get(name, environ.get(name.upper(), ""))
        if value:
            found[scheme] = value
    bypass = found.pop("no", None)
    return found if bypass is None or not found else {**found, "no": bypass}


class UpstreamByProxy:
    """Hosts that NO_PROXY names, and schemes that have no proxy, are reached directly."""

    def __init__(self, *, direct: Upstream, proxied: Upstream, environ: Mapping[str, str]) -> None:
        """Own both transports; `proxied` finds its proxy by itself."""
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
        """Choose and send."""
        return await self._choose(request.url).send(request, timeout)

    async def close(self) -> None:
        """Drop every connection."""
        await self._direct.close()
        await self._proxied.close()
