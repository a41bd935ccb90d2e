"""Carries requests to providers over aiohttp: for what our own pool does not speak, which is proxies."""

from __future__ import annotations

import asyncio
import io
import ipaddress
import socket
import ssl
from collections.abc import Callable
from typing import Any, cast

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.http import HttpProcessingError
from yarl import URL

from llm_gateway.flow.ports.upstream import OversizedReply, QuietContent, TransportError, Upstream
from llm_gateway.infra.upstream.address import InvalidRequest, ServerAddress, parse_url
from llm_gateway.infra.upstream.aiohttp.connections import StrictConnector, StrictHandler
from llm_gateway.infra.upstream.aiohttp.errors import (
    connect_timeout_error,
    cut_before_reply,
    proxy_refusal,
    transport_error,
)
from llm_gateway.infra.upstream.certificates import default_tls
from llm_gateway.infra.upstream.content_coding import Inflater, Undecodable, inflater_for
from llm_gateway.infra.upstream.http11.messages import encode_head
from llm_gateway.infra.upstream.proxies import Proxy, ProxySettings
from llm_gateway.infra.upstream.resolver import Resolver, is_public, private_address_error
from llm_gateway.providers.base import UpstreamRequest

_KEEPALIVE = 30.0
# How long a stream's body may take to end after its last event, in seconds.
_FINISH_SECONDS = 0.5
# The loop holds tasks weakly.
_LINGERING: set[asyncio.Task[None]] = set()
# Larger bodies go out piece by piece.
_ONE_PIECE = 256 * 1024
_PROXY_AUTHENTICATION = 407
_PROXY_AUTHORIZATION = "proxy-authorization"
# aiohttp would add these by itself.
_NOT_OURS = ("Accept", "Accept-Encoding", "Content-Type", "User-Agent")


class AiohttpUpstream(Upstream):
    """The `Upstream` port over aiohttp sessions with keep-alive."""

    def __init__(
        self,
        *,
        connect_timeout: float,
        allow_private: bool = True,
        ssl_context: ssl.SSLContext | None = None,
        proxies: ProxySettings | None = None,
    ) -> None:
        """Open nothing yet; `connect_timeout` is in seconds."""
        self._connect_timeout = connect_timeout
        self._allow_private = allow_private
        self._ssl_context = ssl_context
        self._find_proxy = (proxies or ProxySettings({})).find
        self._resolver = Resolver(allow_private=allow_private)
        # By whether their connections are reused, and whether they lead to a proxy.
        self._sessions: dict[tuple[bool, bool], aiohttp.ClientSession] = {}

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
        proxy = self._find_proxy(request.url)
        progress = _Progress(target.url, proxy)
        try:
            async with asyncio.timeout(timeout):
                if not self._allow_private:
                    await self._refuse_private(target.server, proxy)
                return AiohttpReply(await self._send(request, progress), proxy)
        except TimeoutError as error:
            if isinstance(error, aiohttp.ConnectionTimeoutError):
                raise connect_timeout_error(proxy) from None
            raise TransportError("timeout", "the provider did not reply in time") from None
        except aiohttp.ClientError as error:
            raise transport_error(error, proxy, connected=progress.connected) from None
        except UnicodeError:
            raise TransportError("connect", "the provider's host name does not resolve") from None
        except ValueError:
            raise TransportError("protocol", "the provider's reply is not valid HTTP") from None
        except OSError:
            raise cut_before_reply(proxy, connected=progress.connected) from None

    async def close(self) -> None:
        """Drop every connection."""
        self._resolver.close()
        sessions = list(self._sessions.values())
        self._sessions.clear()
        for session in sessions:
            await session.close()

    async def _refuse_private(self, server: ServerAddress, proxy: Proxy | None) -> None:
        """Raise TransportError for a provider at a private address; a proxy would connect to any."""
        if proxy is None:
            _refuse_private_literal(server.host)
            return
        try:
            await self._resolver.require_public(server.host, server.port)
        except (OSError, UnicodeError):
            raise TransportError(
                "connect",
                "the provider's host name does not resolve here, so that its addresses cannot be checked, and "
                "ALLOW_PRIVATE_UPSTREAMS is false",
            ) from None

    async def _send(self, request: UpstreamRequest, progress: _Progress) -> aiohttp.ClientResponse:
        proxied = progress.proxy is not None
        try:
            return await self._request(self._session(reuse=True, proxied=proxied), request, progress)
        except (aiohttp.ServerDisconnectedError, ConnectionResetError, aiohttp.ClientOSError) as error:
            if not progress.reused or isinstance(error, aiohttp.ClientConnectorError):
                raise
        progress.connected = progress.reused = False
        return await self._request(self._session(reuse=False, proxied=proxied), request, progress)

    async def _request(
        self, session: aiohttp.ClientSession, request: UpstreamRequest, progress: _Progress
    ) -> aiohttp.ClientResponse:
        body = request.body
        own: dict[str, Any] = {}
        if request.connect_timeout is not None:
            own["timeout"] = _timeout(request.connect_timeout)
        headers = request.headers
        if progress.proxy is not None:
            own["proxy"] = URL(progress.proxy.url)
            if (authorization := progress.proxy.authorization()) is not None:
                if progress.url.startswith("https:"):
                    # For the proxy alone, when it opens the tunnel.
                    own["proxy_headers"] = {_PROXY_AUTHORIZATION: authorization}
                else:
                    headers = {**headers, _PROXY_AUTHORIZATION: authorization}
        response = await session.request(
            request.method,
            URL(progress.url, encoded=True),
            data=(body if len(body) <= _ONE_PIECE else io.BytesIO(body)) or None,
            headers=headers,
            allow_redirects=False,
            trace_request_ctx=progress,
            **own,
        )
        if response._writer is not None and response.connection is not None:  # noqa: SLF001 - no other tells it
            # Part of the request is still to be sent.
            cast("StrictHandler", response.connection.protocol).force_close()
        return response

    def _session(self, *, reuse: bool, proxied: bool) -> aiohttp.ClientSession:
        session = self._sessions.get((reuse, proxied))
        if session is None:
            session = self._sessions[reuse, proxied] = self._open(reuse=reuse, proxied=proxied)
        return session

    def _open(self, *, reuse: bool, proxied: bool) -> aiohttp.ClientSession:
        trace = aiohttp.TraceConfig()
        trace.on_connection_reuseconn.append(_note_reuse)
        trace.on_connection_create_end.append(_note_connection)
        connector = StrictConnector(
            limit=0,
            force_close=not reuse,
            keepalive_timeout=_KEEPALIVE if reuse else None,
            # The operator has chosen the proxy, wherever it is.
            resolver=None if self._allow_private or proxied else _PublicResolver(),
            ssl=self._ssl_context or default_tls(),
        )
        return aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=_timeout(self._connect_timeout),
            trace_configs=[trace],
            skip_auto_headers=_NOT_OURS,
            auto_decompress=False,
        )


class _Progress:
    """Where a request goes, and how far it has come: its connection is open, and was used before."""

    __slots__ = ("connected", "proxy", "reused", "url")

    def __init__(self, url: str, proxy: Proxy | None) -> None:
        self.url = url
        self.proxy = proxy
        self.connected = False
        self.reused = False


def _timeout(seconds: float) -> aiohttp.ClientTimeout:
    """Limit DNS, TCP, TLS and the proxy's tunnel together."""
    return aiohttp.ClientTimeout(total=None, connect=seconds, sock_connect=seconds)


async def _note_connection(_session: object, context: Any, _params: object) -> None:  # noqa: ANN401 - aiohttp's shape
    context.trace_request_ctx.connected = True


async def _note_reuse(_session: object, context: Any, _params: object) -> None:  # noqa: ANN401 - aiohttp's shape
    context.trace_request_ctx.connected = context.trace_request_ctx.reused = True


class AiohttpReply:
    """The `UpstreamReply` port over an open aiohttp response."""

    __slots__ = ("_content", "_inflater", "_released", "_response", "status")

    def __init__(self, response: aiohttp.ClientResponse, proxy: Proxy | None) -> None:
        """Own `response` until `close`; TransportError for one that is no reply of the provider."""
        self._response = response
        self._content = response.content
        self._released = False
        self.status = response.status
        self._inflater: Inflater | None = None
        try:
            if response.status < 200:
                raise TransportError("protocol", "the provider switched to another protocol")
            if response.status == _PROXY_AUTHENTICATION and proxy is not None:
                raise proxy_refusal(response.status)
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
            raise OversizedReply
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout
        parts: list[bytes] = []
        size = 0
        while data := await self._next(
            max(deadline - loop.time(), 0.0), "the provider did not finish its reply in time"
        ):
            size += len(data)
            if size > limit:
                raise OversizedReply
            parts.append(data)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    async def relay(
        self, take: Callable[[bytes], bool], max_silence: float, quiet: QuietContent | None = None
    ) -> None:
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
