"""The address of a client behind proxies."""

from __future__ import annotations

import pytest

from llm_gateway.http.client_address import TrustedProxies
from tests.fakes.asgi import http_scope

PROXIES = TrustedProxies(["10.0.0.0/8", "192.168.1.7", "fd00::/8"])


def client_ip(peer: str | None, *forwarded: str, proxies: TrustedProxies = PROXIES) -> str | None:
    headers = [(b"x-forwarded-for", value.encode("latin-1")) for value in forwarded]
    client = None if peer is None else (peer, 5)
    return proxies.client_ip({**http_scope("GET", "/", *headers), "client": client})


@pytest.mark.parametrize(
    ("peer", "forwarded", "found"),
    [
        ("10.0.0.1", ["1.2.3.4"], "1.2.3.4"),
        ("10.0.0.1", [], "10.0.0.1"),
        ("10.0.0.1", [""], "10.0.0.1"),
        # What a client sends itself stands further left.
        ("10.0.0.1", ["6.6.6.6, 1.2.3.4"], "1.2.3.4"),
        ("10.0.0.1", ["6.6.6.6, 1.2.3.4, 10.0.0.2"], "1.2.3.4"),
        ("10.0.0.1", ["6.6.6.6", "1.2.3.4,10.0.0.2"], "1.2.3.4"),
        ("10.0.0.1", ["10.0.0.3, 192.168.1.7"], "10.0.0.3"),
        ("10.0.0.1", ["1.2.3.4, unknown"], "10.0.0.1"),
        ("10.0.0.1", ["1.2.3.4, <script>, 10.0.0.2"], "10.0.0.2"),
        ("10.0.0.1", ["1.2.3.4:567"], "1.2.3.4"),
        ("10.0.0.1", ["[2001:db8::1]:567"], "2001:db8::1"),
        ("10.0.0.1", ["2001:DB8::1"], "2001:db8::1"),
        ("10.0.0.1", ["::ffff:1.2.3.4"], "1.2.3.4"),
        ("10.0.0.1", ["1.2.3.4, ::ffff:10.0.0.2"], "1.2.3.4"),
        ("::ffff:10.0.0.1", ["1.2.3.4"], "1.2.3.4"),
        ("fd00::1", ["1.2.3.4"], "1.2.3.4"),
        ("192.168.1.7", ["1.2.3.4"], "1.2.3.4"),
        # Not a proxy of ours: whatever it says is ignored.
        ("192.168.1.8", ["1.2.3.4"], "192.168.1.8"),
        ("9.9.9.9", ["10.0.0.1"], "9.9.9.9"),
        ("10.0.0.1", [", ".join(["10.0.0.1"] * 5000)], "10.0.0.1"),
        ("10.0.0.1", ["1" * 5000], "10.0.0.1"),
        ("10.0.0.1", ["\xff"], "10.0.0.1"),
        (None, ["1.2.3.4"], None),
        ("", ["1.2.3.4"], ""),
    ],
)
def test_the_nearest_address_that_is_no_proxys_counts(
    peer: str | None, forwarded: list[str], found: str | None
) -> None:
    assert client_ip(peer, *forwarded) == found


def test_without_trusted_proxies_the_header_is_ignored() -> None:
    assert client_ip("10.0.0.1", "1.2.3.4", proxies=TrustedProxies()) == "10.0.0.1"
