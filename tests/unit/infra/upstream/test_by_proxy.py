"""Which requests go through a proxy."""

from __future__ import annotations

from llm_gateway.flow.ports.upstream import Upstream
from llm_gateway.infra.upstream.by_proxy import UpstreamByProxy
from llm_gateway.infra.upstream.proxies import ProxySettings
from llm_gateway.providers.base import UpstreamRequest
from tests.fakes.in_memory import FakeReply


class SpyUpstream(Upstream):
    """An Upstream that records the URLs of its requests."""

    def __init__(self) -> None:
        self.urls: list[str] = []
        self.closed = False

    async def send(self, request: UpstreamRequest, timeout: float) -> FakeReply:
        self.urls.append(request.url)
        return FakeReply()

    async def close(self) -> None:
        self.closed = True


async def test_each_request_goes_its_way() -> None:
    direct, proxied = SpyUpstream(), SpyUpstream()
    environ = {"HTTPS_PROXY": "http://p:1", "NO_PROXY": "localhost, .inside.test,b.test:8443"}
    upstream = UpstreamByProxy(direct=direct, proxied=proxied, proxies=ProxySettings(environ))
    through = ["https://a.test/v1", "https://b.test/v1", "https://localhost.test/"]
    past = [
        "http://a.test/v1",
        "https://localhost:8000/v1",
        "https://x.inside.test/",
        "https://b.test:8443/v1",
    ]
    for url in through + past:
        await upstream.send(UpstreamRequest(url=url, headers={}), 1.0)
    assert (proxied.urls, direct.urls) == (through, past)
    await upstream.close()
    assert direct.closed
    assert proxied.closed


async def test_no_proxy_for_anything() -> None:
    direct, proxied = SpyUpstream(), SpyUpstream()
    environ = {"http_proxy": "http://p:1", "no_proxy": "*"}
    upstream = UpstreamByProxy(direct=direct, proxied=proxied, proxies=ProxySettings(environ))
    await upstream.send(UpstreamRequest(url="http://a.test/", headers={}), 1.0)
    assert (len(proxied.urls), len(direct.urls)) == (0, 1)
