"""Turns aiohttp's errors into transport errors, and tells a proxy's failures from a provider's."""

from __future__ import annotations

import ssl
from urllib.parse import urlsplit

import aiohttp

from llm_gateway.flow.ports.upstream import TransportError
from llm_gateway.infra.upstream.dialer import connect_error
from llm_gateway.infra.upstream.proxies import Proxy

# The proxy could not reach the provider.
_UNREACHED = frozenset({502, 503, 504})
_ADVICE = {
    403: "it does not allow this host",
    407: "it requires a user and a password: set them in the URL of HTTP_PROXY or HTTPS_PROXY",
}


def transport_error(error: aiohttp.ClientError, proxy: Proxy | None, *, connected: bool) -> TransportError:
    """Return the error for a request that got no reply.

    `connected` tells whether its connection to the provider, through the proxy if there is one, was open.
    """
    if isinstance(error, aiohttp.ClientHttpProxyError):
        return proxy_refusal(error.status)
    if isinstance(error, aiohttp.ClientConnectorError):
        return _connect_error(error, proxy)
    if isinstance(error, aiohttp.ClientConnectionError):
        return cut_before_reply(proxy, connected=connected)
    if isinstance(error, aiohttp.InvalidURL):
        return TransportError("connect", "the provider's host name does not resolve")
    if proxy is not None and not connected:
        return TransportError("proxy", "the proxy's reply is not valid HTTP")
    return TransportError("protocol", "the provider's reply is not valid HTTP")


def cut_before_reply(proxy: Proxy | None, *, connected: bool) -> TransportError:
    """Return the error for a connection that closed before the reply."""
    if proxy is not None and not connected:
        return TransportError("proxy", "the proxy closed the connection")
    return TransportError("cut", "the provider closed the connection before it replied")


def connect_timeout_error(proxy: Proxy | None) -> TransportError:
    """Return the error for a connection that took too long."""
    through = "" if proxy is None else " through the proxy"
    return TransportError("connect", f"could not connect to the provider{through} in time")


def proxy_refusal(status: int) -> TransportError:
    """Return the error for a status with which the proxy refused to carry a request."""
    if status in _UNREACHED:
        return TransportError("connect", f"the proxy could not connect to the provider: status {status}")
    why = f": {_ADVICE[status]}" if status in _ADVICE else ""
    return TransportError("proxy", f"the proxy refused the request with status {status}{why}")


def _connect_error(error: aiohttp.ClientConnectorError, proxy: Proxy | None) -> TransportError:
    cause = error.__cause__
    if proxy is None or not _is_of_proxy(error, proxy):
        return connect_error(cause)
    return TransportError("proxy", str(connect_error(cause)).replace("the provider", "the proxy"))


def _is_of_proxy(error: aiohttp.ClientConnectorError, proxy: Proxy) -> bool:
    """Tell whether the proxy could not be reached; with TLS the errors of both are of the same class."""
    if isinstance(error, aiohttp.ClientProxyConnectionError):
        return True
    parts = urlsplit(proxy.url)
    return (error.host, error.port) == (parts.hostname, parts.port) and not (
        isinstance(error.__cause__, ssl.SSLError) and parts.scheme == "http"
    )
