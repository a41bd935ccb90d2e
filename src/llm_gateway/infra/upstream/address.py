"""Splits a provider's URL into the server to connect to and the request target."""

from __future__ import annotations

import ipaddress
import re
from typing import NamedTuple
from urllib.parse import quote, urlsplit

_PORTS = {"http": 80, "https": 443}
# Underscores are not for the Internet, but common within a network.
_HOST = re.compile(r"[A-Za-z0-9._-]+")
_UNSAFE_URL = re.compile(r"[\x00-\x20\x7f]")
# Printable ASCII is kept: the path is quoted already, only other scripts need quoting.
_PATH_SAFE = "".join(map(chr, range(0x21, 0x7F)))


class InvalidRequest(ValueError):
    """The request cannot be encoded as HTTP; the message holds none of its contents."""


class ServerAddress(NamedTuple):
    """Scheme, host and port (an origin): requests to the same one may share connections."""

    scheme: str
    host: str
    port: int


class RequestTarget(NamedTuple):
    """A parsed URL."""

    server: ServerAddress
    # The start of the request head: everything after the method, up to and including the Host line.
    head_start: str
    # The URL again, in ASCII, with the host as it is resolved.
    url: str


def parse_url(url: str) -> RequestTarget:
    """Parse an absolute http or https URL; raise InvalidRequest."""
    try:
        parts = urlsplit(url)
        host = (parts.hostname or "").encode("ascii" if url.isascii() else "idna").decode()
        port = parts.port or _PORTS[parts.scheme]
        is_ipv6 = ":" in host
        if is_ipv6:
            ipaddress.IPv6Address(host)
    except (KeyError, ValueError):
        raise InvalidRequest("the provider's URL is not an HTTP or HTTPS URL") from None
    if not host or "@" in parts.netloc or _UNSAFE_URL.search(url):
        raise InvalidRequest(
            "the provider's URL has no host, or contains a user name, a space or a control character"
        )
    if not is_ipv6 and _HOST.fullmatch(host) is None:
        raise InvalidRequest("the host in the provider's URL has a character that no host name has")
    named = f"[{host}]" if is_ipv6 else host
    if port != _PORTS[parts.scheme]:
        named = f"{named}:{port}"
    path = quote(parts.path or "/", safe=_PATH_SAFE)
    if parts.query:
        path = f"{path}?{quote(parts.query, safe=_PATH_SAFE)}"
    return RequestTarget(
        ServerAddress(parts.scheme, host, port),
        f" {path} HTTP/1.1\r\nhost: {named}\r\n",
        f"{parts.scheme}://{named}{path}",
    )
