"""Which URLs name a server, and what the server is called then."""

from __future__ import annotations

import pytest

from llm_gateway.infra.upstream.address import InvalidRequest, parse_url


@pytest.mark.parametrize(
    ("url", "same"),
    [
        ("http://a.test/v1", "http://a.test/v1"),
        ("https://A.test:443/v1?x=y", "https://a.test/v1?x=y"),
        ("http://a.test:8080", "http://a.test:8080/"),
        ("http://my_server:11434/v1", "http://my_server:11434/v1"),
        ("http://[::1]:80/v1", "http://[::1]/v1"),
        ("http://b\u00fccher.test/\u00fc", "http://xn--bcher-kva.test/%C3%BC"),
        # Digits and dots of other scripts are those of ASCII.
        ("http://\uff11\uff12\uff17\u30020\u30020\u30021/", "http://127.0.0.1/"),
    ],
)
def test_the_url_again_in_ascii(url: str, same: str) -> None:
    target = parse_url(url)
    assert target.url == same
    assert f"\r\nhost: {same.split('/')[2]}\r\n" in target.head_start


@pytest.mark.parametrize("host", ["127%2e0%2e0%2e1", "a%00b", "a,b", "[::1", "[127.0.0.1]", "a(b)", "a|b"])
def test_a_host_that_other_programs_could_read_differently(host: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        parse_url(f"http://{host}/v1")
    assert host not in str(caught.value)
