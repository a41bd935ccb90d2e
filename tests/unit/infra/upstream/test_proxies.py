"""HTTP_PROXY, HTTPS_PROXY and NO_PROXY as operators write them."""

from __future__ import annotations

import pytest

from llm_gateway.infra.upstream.proxies import InvalidProxy, ProxySettings


@pytest.mark.parametrize(
    ("environ", "needed"),
    [
        ({}, False),
        ({"HTTP_PROXY": ""}, False),
        ({"HTTP_PROXY": "  "}, False),
        ({"NO_PROXY": "a"}, False),
        ({"HTTP_PROXY": "http://p:1"}, True),
        ({"https_proxy": "http://p:1"}, True),
        ({"HTTPS_PROXY": "http://p:1", "https_proxy": ""}, False),
    ],
)
def test_whether_a_proxy_is_set(environ: dict[str, str], needed: bool) -> None:
    assert bool(ProxySettings(environ)) is needed


@pytest.mark.parametrize(
    ("value", "url", "authorization"),
    [
        ("http://proxy:3128", "http://proxy:3128", None),
        ("http://proxy:3128/", "http://proxy:3128", None),
        (" proxy:3128\n", "http://proxy:3128", None),
        ("proxy", "http://proxy:80", None),
        ("https://proxy", "https://proxy:443", None),
        ("http://[::1]:8080", "http://[::1]:8080", None),
        ("http://u:p@proxy:1", "http://proxy:1", "Basic dTpw"),
        ("http://u@proxy:1", "http://proxy:1", "Basic dTo="),
        ("http://u:p%3Aq@proxy:1", "http://proxy:1", "Basic dTpwOnE="),
    ],
)
def test_the_proxy_of_a_value(value: str, url: str, authorization: str | None) -> None:
    proxy = ProxySettings({"HTTPS_PROXY": value}).find("https://a.test/v1")
    assert proxy is not None
    assert (proxy.url, proxy.authorization()) == (url, authorization)
    assert "p%3Aq" not in repr(proxy)


@pytest.mark.parametrize(
    "value",
    ["socks5://p:1080", "http://", "http://p:x", "http://p:99999", "ftp://p", "http://a b", "http://[::1"],
)
def test_a_value_that_cannot_be_used_is_refused_by_name(value: str) -> None:
    with pytest.raises(InvalidProxy, match=r"^HTTP_PROXY must be the http or https URL of a proxy"):
        ProxySettings({"http_proxy": value})


@pytest.mark.parametrize(
    ("no_proxy", "host", "direct"),
    [
        ("*", "a.test", True),
        ("a.test", "a.test", True),
        ("A.Test", "a.test", True),
        ("a.test", "A.TEST", True),
        ("a.test", "a.test.", True),
        ("a.test", "b.a.test", True),
        (".a.test", "b.a.test", True),
        (".a.test", "a.test", True),
        ("*.a.test", "b.a.test", True),
        ("a.test", "ba.test", False),
        ("b.a.test", "a.test", False),
        ("a.test:443", "a.test", True),
        ("a.test:8443", "a.test", False),
        ("a.test:8443", "a.test:8443", True),
        ("x, a.test ,y", "a.test", True),
        ("x a.test", "a.test", True),
        ("10.0.0.0/8", "10.1.2.3", True),
        ("10.0.0.0/8", "11.1.2.3", False),
        ("10.0.0.0/8", "a.test", False),
        ("10.0.0.7", "10.0.0.7", True),
        ("::1", "[::1]", True),
        ("[::1]:443", "[::1]", True),
        ("fd00::/8", "[fd00::7]", True),
        ("nonsense/99, ,:", "a.test", False),
    ],
)
def test_hosts_that_are_reached_without_a_proxy(no_proxy: str, host: str, direct: bool) -> None:
    settings = ProxySettings({"HTTPS_PROXY": "http://p:1", "NO_PROXY": no_proxy})
    assert (settings.find(f"https://{host}/v1") is None) is direct
    # There is no proxy for this scheme.
    assert settings.find(f"http://{host}/v1") is None
