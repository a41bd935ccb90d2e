"""Carries requests to providers over aiohttp: for what our own pool does not speak, which is proxies."""

from __future__ import annotations

import asyncio
import io
import ipaddress
import os
import socket
import ssl
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.http import HttpProcessingError
from yarl import URL

from llm_gateway.flow.ports.upstream import TransportError
from llm_gateway.infra.upstream.address import InvalidRequest, parse_url
from llm_gateway.infra.upstream.aiohttp.connections import StrictConnector
from llm_gateway.infra.upstream.by_proxy import needs_proxy
from llm_gateway.infra.upstream.content_coding import Inflater, Undecodable, inflater_for
from llm_gateway.infra.upstream.dialer import connect_error
from llm_gateway.infra.upstream.http11.messages import encode_head
from llm_gateway.infra.upstream.resolver import is_public, private_address_error
from llm_gateway.providers.base import UpstreamRequest

_KEEPALIVE = 30.0
# How long a stream's body may take to end after its last event, in seconds.
_FINISH_SECONDS = 0.5
# The loop holds tasks weakly.
_LINGERING: set[asyncio.Task[None]] = set()
# Larger bodies go out piece by piece.
_ONE_PIECE = 256 * 1024
# aiohttp would add these by itself.
_NOT_OURS = ("Accept", "Accept-Encoding", "Content-Type", "User-Agent")


class AiohttpUpstream:
    """The `Upstream` port over one aiohttp session with keep-alive."""

    def __init__(
        self,
        *,
        connect_timeout: float,
        allow_private: bool = True,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        """Open nothing yet; `connect_timeout` is in seconds."""
        self._connect_timeout = connect_timeout
        self._allow_private = allow_private
        self._ssl_context = ssl_context
        self._session: aiohttp.ClientSession | None = None
        self._unpooled: aiohttp.ClientSession | None = None

    async def send(self, request: UpstreamRequest, timeout: float) -> AiohttpReply:
        """Send and wait for the reply's head.

        When a kept-alive connection turns out to be dead before any byte of the reply came, the request is
        sent once more on a fresh one: that is the connection's fault, not an attempt of its own.
        """
        try:
            # aiohttp is less strict; what the pool refuses is refused here too.
            target = parse_url(request.url)
            encode_head(request, target)
        except InvalidRequest as unfit:
            raise TransportError("protocol", str(unfit)) from None
        if not self._allow_private:
            _refuse_private_literal(target.server.host)
        try:
            async with asyncio.timeout(timeout):
                return AiohttpReply(await self._send(request))
        except TimeoutError as error:
            if isinstance(error, aiohttp.ConnectionTimeoutError):
                raise TransportError("connect", "could not connect to the provider in time") from None
            raise TransportError("timeout", "the provider did not reply in time") from None
        except aiohttp.ClientHttpProxyError:
            raise TransportError("connect", "the proxy refused to connect to the provider") from None
        except aiohttp.ClientConnectorError as error:
            raise connect_error(error.__cause__) from None
        except (aiohttp.ClientConnectionError, ConnectionError, OSError):
            raise TransportError("cut", "the provider closed the connection before it replied") from None
        except (aiohttp.InvalidURL, UnicodeError):
            raise TransportError("connect", "the provider's host name does not resolve") from None
        except (aiohttp.ClientError, ValueError):
            raise TransportError("protocol", "the provider's reply is not valid HTTP") from None

    async def close(self) -> None:
        """Drop every connection."""
        for session in (self._session, self._unpooled):
            if session is not None:
                await session.close()
        self._session = self._unpooled = None

    async def _send(self, request: UpstreamRequest) -> aiohttp.ClientResponse:
        if self._session is None:
            self._session = self._open(force_close=False)
        seen = SimpleNamespace(reused=False)
        try:
            return await self._request(self._session, request, seen)
        except (aiohttp.ServerDisconnectedError, ConnectionResetError, aiohttp.ClientOSError) as error:
            if not seen.reused or isinstance(error, aiohttp.ClientConnectorError):
                raise
        if self._unpooled is None:
            self._unpooled = self._open(force_close=True)
        return await self._request(self._unpooled, request, seen)

    async def _request(
        self, session: aiohttp.ClientSession, request: UpstreamRequest, seen: SimpleNamespace
    ) -> aiohttp.ClientResponse:
        body = request.body
        own: dict[str, Any] = {}
        if request.connect_timeout is not None:
            own["timeout"] = aiohttp.ClientTimeout(total=None, sock_connect=request.connect_timeout)
        return await session.request(
            request.method,
            URL(request.url, encoded=True),
            data=(body if len(body) <= _ONE_PIECE else io.BytesIO(body)) or None,
            headers=request.headers,
            allow_redirects=False,
            trace_request_ctx=seen,
            **own,
        )

    def _open(self, *, force_close: bool) -> aiohttp.ClientSession:
        trace = aiohttp.TraceConfig()
        trace.on_connection_reuseconn.append(_note_reuse)
        connector = StrictConnector(
            limit=0,
            force_close=force_close,
            keepalive_timeout=None if force_close else _KEEPALIVE,
            resolver=None if self._allow_private else _PublicResolver(),
            ssl=self._ssl_context or True,
        )
        return aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=self._connect_timeout),
            trace_configs=[] if force_close else [trace],
            skip_auto_headers=_NOT_OURS,
            auto_decompress=False,
            trust_env=needs_proxy(os.environ),
        )


async def _note_reuse(_session: object, context: Any, _params: object) -> None:  # noqa: ANN401 - aiohttp's shape
    context.trace_request_ctx.reused = True


class AiohttpReply:
    """The `UpstreamReply` port over an open aiohttp response."""

    __slots__ = ("_content", "_inflater", "_released", "_response", "status")

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        """Own `response` until `close`; TransportError for one that is no reply to us."""
        self._response = response
        self._content = response.content
        self._released = False
        self.status = response.status
        self._inflater: Inflater | None = None
        try:
            if response.status < 200:
                raise TransportError("protocol", "the provider switched to another protocol")
            self._inflater = inflater_for(response.headers.get("content-encoding"))
        except Undecodable:
            response.close()
            raise TransportError(
                "protocol", "the provider's reply has a content coding that was not requested"
            ) from None
        except TransportError:
            response.close()
            raise

    def header(self, name: str) -> str | None:
        """Return a header's value."""
        return self._response.headers.get(name)

    async def read(self, timeout: float) -> bytes:
        """Return what is there, or wait for it."""
        return await self._next(timeout, "the provider stopped sending")

    async def read_all(self, limit: int, timeout: float) -> bytes:
        """Return the body."""
        length = self._response.content_length
        if length is not None and length > limit:
            raise TransportError("protocol", "the provider's reply is too large")
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout
        parts: list[bytes] = []
        size = 0
        while data := await self._next(
            max(deadline - loop.time(), 0.0), "the provider did not finish its reply in time"
        ):
            size += len(data)
            if size > limit:
                raise TransportError("protocol", "the provider's reply is too large")
            parts.append(data)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    async def relay(self, take: Callable[[bytes], bool], max_silence: float) -> None:
        """Leave it all to `read`."""

    def finish(self) -> None:
        """Wait a moment for the end of the body, in the background, so that the connection can be kept."""
        if self._released or self._content.at_eof():
            self.close()
            return
        self._released = True
        task = asyncio.ensure_future(self._linger())
        _LINGERING.add(task)
        task.add_done_callback(_LINGERING.discard)

    def close(self) -> None:
        """Keep the connection when the body is read, else drop it."""
        if not self._released:
            self._released = True
            self._release()

    async def _linger(self) -> None:
        try:
            async with asyncio.timeout(_FINISH_SECONDS):
                while await self._content.readany():
                    pass
        except (TimeoutError, aiohttp.ClientError, HttpProcessingError, OSError):
            pass
        finally:
            self._release()

    def _release(self) -> None:
        if self._content.at_eof():
            self._response.release()
        else:
            self._response.close()

    async def _next(self, timeout: float, late: str) -> bytes:
        inflater = self._inflater
        try:
            if inflater is None:
                return await self._raw(timeout)
            while not (data := inflater.take()):
                coded = await self._raw(timeout)
                if not coded:
                    inflater.end()
                    break
                inflater.feed(coded)
            return data
        except TimeoutError:
            raise TransportError("timeout", late) from None
        except Undecodable:
            raise TransportError("protocol", "the provider's compressed reply cannot be decoded") from None
        except HttpProcessingError:
            raise TransportError("protocol", "the provider's reply is not valid HTTP") from None
        except (aiohttp.ClientError, OSError):
            raise TransportError(
                "cut", "the provider closed the connection before the end of its reply"
            ) from None

    async def _raw(self, timeout: float) -> bytes:
        if data := self._content.read_nowait():
            return data
        async with asyncio.timeout(timeout):
            return await self._content.readany()


class _PublicResolver(AbstractResolver):
    """Resolves names to public addresses only, so that no name leads inside."""

    def __init__(self) -> None:
        self._resolver = aiohttp.ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        found = await self._resolver.resolve(host, port, family)
        public = [entry for entry in found if is_public(entry["host"])]
        if not public:
            raise private_address_error()
        return public

    async def close(self) -> None:
        await self._resolver.close()


def _refuse_private_literal(host: str) -> None:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return
    if not is_public(host):
        raise private_address_error()
