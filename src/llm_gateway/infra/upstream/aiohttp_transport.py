"""Carries requests to providers over aiohttp, the well-kept client that survives cancelled requests."""

from __future__ import annotations

import asyncio
import ipaddress
import os
import socket
from types import SimpleNamespace
from typing import Any

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from llm_gateway.flow.ports import UpstreamFault
from llm_gateway.providers.base import UpstreamRequest

_PROXY_VARIABLES = ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy")
_KEEPALIVE = 30.0
# How long a stream's body may take to end after its last event, in seconds.
_LINGER = 0.5
# The loop holds tasks weakly.
_LINGERING: set[asyncio.Task[None]] = set()


class AiohttpUpstream:
    """The `Upstream` port over one aiohttp session with keep-alive."""

    def __init__(self, *, connect_timeout: float, allow_private: bool = True) -> None:
        """Open nothing yet; `connect_timeout` is in seconds."""
        self._connect_timeout = connect_timeout
        self._allow_private = allow_private
        self._session: aiohttp.ClientSession | None = None
        self._fresh: aiohttp.ClientSession | None = None

    async def send(self, request: UpstreamRequest, timeout: float) -> AiohttpReply:
        """Send and wait for the reply's head.

        When a kept-alive connection turns out to be dead before any byte of the reply came, the request is
        sent once more on a fresh one: that is the connection's fault, not an attempt of its own.
        """
        if not self._allow_private:
            _refuse_private_literal(request.url)
        if self._session is None:
            self._session = self._open(force_close=False)
        seen = SimpleNamespace(reused=False)
        try:
            async with asyncio.timeout(timeout):
                try:
                    response = await self._request(self._session, request, seen)
                except (
                    aiohttp.ServerDisconnectedError,
                    ConnectionResetError,
                    aiohttp.ClientOSError,
                ) as error:
                    if not seen.reused or isinstance(error, aiohttp.ClientConnectorError):
                        raise
                    if self._fresh is None:
                        self._fresh = self._open(force_close=True)
                    response = await self._request(self._fresh, request, seen)
        except TimeoutError as error:
            if isinstance(error, aiohttp.ConnectionTimeoutError):
                raise UpstreamFault("connect", "no connection to the provider in time") from None
            raise UpstreamFault("timeout", "the provider did not answer in time") from None
        except aiohttp.ClientConnectorError:
            raise UpstreamFault("connect", "no connection to the provider") from None
        except (aiohttp.ClientConnectionError, ConnectionError, OSError):
            raise UpstreamFault("cut", "the provider closed the connection before it answered") from None
        except (aiohttp.ClientError, ValueError):
            raise UpstreamFault("protocol", "the provider's answer is not HTTP") from None
        return AiohttpReply(response)

    async def close(self) -> None:
        """Drop every connection."""
        for session in (self._session, self._fresh):
            if session is not None:
                await session.close()
        self._session = self._fresh = None

    async def _request(
        self, session: aiohttp.ClientSession, request: UpstreamRequest, seen: SimpleNamespace
    ) -> aiohttp.ClientResponse:
        return await session.request(
            request.method,
            URL(request.url, encoded=True),
            data=request.body or None,
            headers=request.headers,
            allow_redirects=False,
            trace_request_ctx=seen,
        )

    def _open(self, *, force_close: bool) -> aiohttp.ClientSession:
        trace = aiohttp.TraceConfig()
        trace.on_connection_reuseconn.append(_note_reuse)
        connector = aiohttp.TCPConnector(
            limit=0,
            force_close=force_close,
            keepalive_timeout=None if force_close else _KEEPALIVE,
            resolver=None if self._allow_private else _PublicResolver(),
        )
        return aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=self._connect_timeout),
            trace_configs=[] if force_close else [trace],
            trust_env=any(os.environ.get(name) for name in _PROXY_VARIABLES),
        )


async def _note_reuse(_session: object, context: Any, _params: object) -> None:  # noqa: ANN401 - aiohttp's shape
    context.trace_request_ctx.reused = True


class AiohttpReply:
    """The `UpstreamReply` port over an open aiohttp response."""

    __slots__ = ("_content", "_response", "status")

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        """Own `response` until `close`."""
        self._response = response
        self._content = response.content
        self.status = response.status

    def header(self, name: str) -> str | None:
        """Return a header's value."""
        return self._response.headers.get(name)

    async def read(self, timeout: float) -> bytes:
        """Return what is there, or wait for it."""
        try:
            if data := self._content.read_nowait():
                return data
            async with asyncio.timeout(timeout):
                return await self._content.readany()
        except TimeoutError:
            raise UpstreamFault("timeout", "the provider went silent") from None
        except (aiohttp.ClientError, OSError):
            raise UpstreamFault("cut", "the provider closed the connection before the reply's end") from None

    async def read_all(self, limit: int, timeout: float) -> bytes:
        """Return the body."""
        length = self._response.content_length
        if length is not None and length > limit:
            raise UpstreamFault("protocol", "the provider's reply is too large")
        parts: list[bytes] = []
        size = 0
        try:
            async with asyncio.timeout(timeout):
                while data := await self._content.readany():
                    size += len(data)
                    if size > limit:
                        raise UpstreamFault("protocol", "the provider's reply is too large")
                    parts.append(data)
        except TimeoutError:
            raise UpstreamFault("timeout", "the provider did not finish its answer in time") from None
        except (aiohttp.ClientError, OSError):
            raise UpstreamFault("cut", "the provider closed the connection before the reply's end") from None
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def finish(self) -> None:
        """Wait a moment for the end of the body, in the background, so that the connection can be kept."""
        if self._content.at_eof():
            self._response.release()
            return
        task = asyncio.ensure_future(self._linger())
        _LINGERING.add(task)
        task.add_done_callback(_LINGERING.discard)

    async def _linger(self) -> None:
        try:
            async with asyncio.timeout(_LINGER):
                while await self._content.readany():
                    pass
        except (TimeoutError, aiohttp.ClientError, OSError):
            pass
        finally:
            self.close()

    def close(self) -> None:
        """Keep the connection when the body is read, else drop it."""
        if self._content.at_eof():
            self._response.release()
        else:
            self._response.close()


class _PublicResolver(AbstractResolver):
    """Resolves names to public addresses only, so that no name leads inside."""

    def __init__(self) -> None:
        self._resolver = aiohttp.ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        found = await self._resolver.resolve(host, port, family)
        public = [entry for entry in found if ipaddress.ip_address(entry["host"]).is_global]
        if not public:
            message = "the name leads to no public address, and ALLOW_PRIVATE_UPSTREAMS is off"
            raise OSError(message)
        return public

    async def close(self) -> None:
        await self._resolver.close()


def _refuse_private_literal(url: str) -> None:
    try:
        address = ipaddress.ip_address(URL(url).host or "")
    except ValueError:
        return
    if not address.is_global:
        raise UpstreamFault("connect", "a private address, and ALLOW_PRIVATE_UPSTREAMS is off")
