"""Requests through a proxy: which ones, what the proxy hears, and whose fault it is when it fails."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable

import pytest

from llm_gateway.flow.ports.upstream import Upstream
from llm_gateway.infra.upstream.aiohttp.transport import AiohttpUpstream
from llm_gateway.infra.upstream.by_proxy import UpstreamByProxy
from llm_gateway.infra.upstream.http11.pool import PooledUpstream
from llm_gateway.infra.upstream.proxies import ProxySettings
from tests.fakes.certificates import Identity
from tests.fakes.origin import HELLO, Origin, Script, Visit, answers, origin_of
from tests.fakes.upstream_calls import SOON, ask, fault_of, post

PUBLIC, PRIVATE = "93.184.216.34", "10.0.0.7"
MakeProxied = Callable[..., Upstream]


@pytest.fixture(params=["pool", "aiohttp"])
async def make_proxied(request: pytest.FixtureRequest) -> AsyncIterator[MakeProxied]:
    """Yield a function that makes what the gateway uses with proxies, for either setting of the transport."""
    made: list[Upstream] = []

    def make(environ: dict[str, str], *, tls: Identity | None = None, **options: object) -> Upstream:
        proxies = ProxySettings(environ)
        given = {"connect_timeout": 1.0, "ssl_context": tls.client() if tls else None, **options}
        proxied: Upstream = AiohttpUpstream(proxies=proxies, **given)  # type: ignore[arg-type]
        if request.param == "pool":
            direct = PooledUpstream(**given)  # type: ignore[arg-type]
            proxied = UpstreamByProxy(direct=direct, proxied=proxied, proxies=proxies)
        made.append(proxied)
        return proxied

    yield make
    for upstream in made:
        await upstream.close()


@pytest.fixture(scope="module")
def identity(tmp_path_factory: pytest.TempPathFactory) -> Identity:
    return Identity(tmp_path_factory.mktemp("tls"), "localhost", "127.0.0.1")


@pytest.fixture
async def names(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """Return a table of names and addresses; other names below `.test` do not resolve."""
    table: dict[str, list[str]] = {}
    real = socket.getaddrinfo

    def found(host: str, port: int, *args: int, **more: int) -> list[tuple[object, ...]]:
        if not str(host).endswith(".test"):
            return list(real(host, port, *args, **more))
        if host not in table:
            raise socket.gaierror(socket.EAI_NONAME, "no such name")
        kind = {True: socket.AF_INET6, False: socket.AF_INET}
        return [(kind[":" in each], socket.SOCK_STREAM, 6, "", (each, port)) for each in table[host]]

    async def from_loop(_loop: object, host: str, port: int, **more: int) -> list[tuple[object, ...]]:
        return found(host, port, **more)

    monkeypatch.setattr(socket, "getaddrinfo", found)
    monkeypatch.setattr(type(asyncio.get_running_loop()), "getaddrinfo", from_loop, raising=False)
    return table


def tunnel_to(origin: Origin, heads: list[bytes] | None = None) -> Script:
    """Return a proxy's script that connects every tunnel to `origin`, and notes what it was asked."""

    async def script(visit: Visit) -> None:
        head = await visit.head()
        assert head.startswith(b"CONNECT ")
        if heads is not None:
            heads.append(head)
        reader, writer = await asyncio.open_connection("127.0.0.1", int(origin.base.rpartition(":")[2]))
        await visit.send(b"HTTP/1.1 200 Connection established\r\n\r\n")

        async def pump(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
            while data := await source.read(65536):
                target.write(data)
            target.close()

        try:
            await asyncio.gather(pump(visit.reader, writer), pump(reader, visit.writer))
        except ConnectionError:
            pass
        finally:
            writer.transport.abort()

    return script


# --- which requests ------------------------------------------------------------------------------


async def test_a_proxy_is_used_but_for_no_proxy(make_proxied: MakeProxied) -> None:
    async with origin_of(answers(HELLO)) as proxy, origin_of(answers(HELLO)) as inside:
        upstream = make_proxied({"http_proxy": proxy.base, "no_proxy": "127.0.0.1,intranet.test"})
        assert await ask(upstream, "http://provider.test/v1/x") == (200, b"hello")
        assert proxy.visits[0].asked[0].line == "POST http://provider.test/v1/x HTTP/1.1"
        assert await ask(upstream, inside.url()) == (200, b"hello")
        assert (len(proxy.visits), len(inside.visits)) == (1, 1)


async def test_a_user_of_the_proxy_is_told_to_the_proxy_alone(
    make_proxied: MakeProxied, identity: Identity
) -> None:
    heads: list[bytes] = []
    async with (
        origin_of(answers(HELLO), tls=identity.server()) as origin,
        origin_of(tunnel_to(origin, heads)) as proxy,
    ):
        base = proxy.base.replace("://", "://me:p%40ss@")
        upstream = make_proxied({"https_proxy": base}, tls=identity)
        for _ in range(3):
            assert await ask(upstream, origin.url()) == (200, b"hello")
        # me:p@ss
        assert b"proxy-authorization: basic bwu6cebzcw==" in heads[0].lower()
        assert b"authorization: bearer" not in heads[0].lower()
        assert origin.visits[0].asked[0].header("proxy-authorization") is None
        assert (len(proxy.visits), len(origin.visits[0].asked)) == (1, 3)
    async with origin_of(answers(HELLO)) as proxy:
        upstream = make_proxied({"http_proxy": proxy.base.replace("://", "://me:p%40ss@")})
        assert await ask(upstream, "http://provider.test/") == (200, b"hello")
        assert proxy.visits[0].asked[0].header("proxy-authorization") == "Basic bWU6cEBzcw=="


# --- whose fault it is ---------------------------------------------------------------------------


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


async def _says(reply: bytes, visit: Visit) -> None:
    await visit.head()
    await visit.send(reply)
    visit.end()


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_a_dead_proxy_is_not_the_providers_fault(make_proxied: MakeProxied, scheme: str) -> None:
    for proxy in (f"http://127.0.0.1:{_free_port()}", "http://nowhere.invalid:3128"):
        upstream = make_proxied({"http_proxy": proxy, "https_proxy": proxy})
        fault = await fault_of(upstream.send(post(f"{scheme}://provider.test/v1/x"), SOON))
        assert (fault.kind, "proxy" in str(fault), "provider" in str(fault)) == ("proxy", True, False)


@pytest.mark.parametrize(
    ("reply", "kind", "says"),
    [
        (b"", "proxy", "the proxy closed the connection"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "proxy", "the proxy's reply is not valid HTTP"),
        (b"HTTP/1.1 407 Who are you\r\ncontent-length: 0\r\n\r\n", "proxy", "requires a user and a password"),
        (b"HTTP/1.1 403 No\r\ncontent-length: 0\r\n\r\n", "proxy", "does not allow this host"),
        (b"HTTP/1.1 500 Oops\r\ncontent-length: 0\r\n\r\n", "proxy", "status 500"),
        (b"HTTP/1.1 502 Bad\r\ncontent-length: 0\r\n\r\n", "connect", "could not connect to the provider"),
        (b"HTTP/1.1 504 Slow\r\ncontent-length: 0\r\n\r\n", "connect", "could not connect to the provider"),
    ],
)
async def test_a_proxy_that_opens_no_tunnel(
    make_proxied: MakeProxied, reply: bytes, kind: str, says: str
) -> None:
    async with origin_of(lambda visit: _says(reply, visit)) as proxy:
        upstream = make_proxied({"https_proxy": proxy.base})
        fault = await fault_of(upstream.send(post("https://provider.test/v1/x"), SOON))
        assert (fault.kind, says in str(fault)) == (kind, True), str(fault)


async def test_a_proxy_that_never_opens_its_tunnel_ends_with_the_time_to_connect(
    make_proxied: MakeProxied,
) -> None:
    async def script(visit: Visit) -> None:
        await visit.left(5.0)

    async with origin_of(script) as proxy:
        upstream = make_proxied({"https_proxy": proxy.base}, connect_timeout=0.2)
        fault = await fault_of(upstream.send(post("https://provider.test/v1/x"), SOON))
        assert (fault.kind, "proxy" in str(fault)) == ("connect", True)
        assert await proxy.all_left()


async def test_a_proxy_that_wants_a_user_for_plain_http(make_proxied: MakeProxied) -> None:
    async with origin_of(answers(b"HTTP/1.1 407 Who\r\ncontent-length: 0\r\n\r\n")) as proxy:
        fault = await fault_of(make_proxied({"http_proxy": proxy.base}).send(post("http://a.test/"), SOON))
        assert (fault.kind, "407" in str(fault)) == ("proxy", True)


async def test_a_provider_behind_the_proxy_is_blamed_for_its_own_certificate(
    make_proxied: MakeProxied, identity: Identity
) -> None:
    async with (
        origin_of(answers(HELLO), tls=identity.server()) as origin,
        origin_of(tunnel_to(origin)) as proxy,
    ):
        upstream = make_proxied({"https_proxy": proxy.base})
        fault = await fault_of(upstream.send(post(origin.url()), SOON))
        assert (fault.kind, "provider's TLS certificate" in str(fault)) == ("connect", True)


async def test_a_provider_that_cuts_its_reply_is_blamed_behind_a_proxy_too(make_proxied: MakeProxied) -> None:
    async with origin_of(lambda visit: _says(b"HTTP/1.1 200 OK\r\ncont", visit)) as proxy:
        fault = await fault_of(ask(make_proxied({"http_proxy": proxy.base}), "http://a.test/"))
        assert fault.kind == "cut"


# --- private addresses ---------------------------------------------------------------------------

LOOPBACK = [
    "127.0.0.1",
    "127.1",
    "127.0.1",
    "0",
    "0.0.0.0",
    "2130706433",
    "0x7f000001",
    "0x7f.0.0.1",
    "0x7f.1",
    "017700000001",
    "0177.0.0.1",
    "127.0.0.1.",
    "127.1.",
    "localhost",
    "LOCALHOST",
    "localhost.",
    "a.localhost",
    "a.localhost.",
    "localhost.localdomain",
    "127.0.0.1.nip.io",
    "\uff11\uff12\uff17.0.0.1",
    "127\u30020\u30020\u30021",
    "\u2460\u2461\u2466.0.0.1",
    "\uff4cocalhost",
    "127%2e0%2e0%2e1",
    "%6cocalhost",
    "[::1]",
    "[::]",
    "[0:0:0:0:0:0:0:1]",
    "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]",
    "[::127.0.0.1]",
    "[::ffff:0:127.0.0.1]",
    "[64:ff9b::7f00:1]",
    "[64:ff9b:1::7f00:1]",
    "[2002:7f00:1::]",
    "[fe80::1]",
    "[fec0::1]",
    "[fd00::1]",
    "169.254.169.254",
    "2852039166",
    "10.1.2.3",
    "100.64.0.1",
    "192.168.1",
    "private.test",
    "either.test",
    "unknown.test",
    "mapped.test",
]


@pytest.mark.parametrize("host", LOOPBACK)
async def test_no_spelling_of_a_private_address_goes_to_the_proxy(
    make_proxied: MakeProxied, names: dict[str, list[str]], host: str
) -> None:
    names.update(
        {"private.test": [PRIVATE], "either.test": [PUBLIC, PRIVATE], "mapped.test": ["::ffff:7f00:1"]}
    )
    async with origin_of(answers(HELLO)) as proxy:
        upstream = make_proxied({"http_proxy": proxy.base, "https_proxy": proxy.base}, allow_private=False)
        for scheme in ("http", "https"):
            fault = await fault_of(upstream.send(post(f"{scheme}://{host}:8080/v1/x"), SOON))
            assert fault.kind in {"connect", "protocol"}
            assert fault.kind == "protocol" or "ALLOW_PRIVATE_UPSTREAMS" in str(fault)
        assert proxy.visits == []


async def test_public_names_go_to_a_proxy_at_a_private_address(
    make_proxied: MakeProxied, names: dict[str, list[str]]
) -> None:
    names["provider.test"] = [PUBLIC]
    async with origin_of(answers(HELLO)) as proxy:
        base = proxy.base.replace("127.0.0.1", "localhost")
        upstream = make_proxied({"http_proxy": base}, allow_private=False)
        for url in ("http://provider.test/v1", f"http://{PUBLIC}/v1", "http://[2606:4700::1111]/v1"):
            assert await ask(upstream, url) == (200, b"hello")
        assert [visit.asked[0].line.split()[1] for visit in proxy.visits] == [
            "http://provider.test/v1",
            f"http://{PUBLIC}/v1",
            "http://[2606:4700::1111]/v1",
        ]


async def test_without_that_setting_the_proxy_decides(make_proxied: MakeProxied) -> None:
    async with origin_of(answers(HELLO)) as proxy:
        upstream = make_proxied({"http_proxy": proxy.base})
        assert await ask(upstream, "http://ollama:11434/v1") == (200, b"hello")
