"""Provider addresses: a URL split into where to connect and what the request line says."""

from __future__ import annotations

import re
from typing import NamedTuple
from urllib.parse import quote, urlsplit

_PORTS = {"http": 80, "https": 443}
_UNSAFE_URL = re.compile(r"[\x00-\x20\x7f]")
# Every printable ASCII character stays as it is: the path comes quoted, what is left are other scripts.
_PATH_SAFE = "".join(map(chr, range(0x21, 0x7F)))


class Unfit(ValueError):
    """The request cannot be put into HTTP; the message holds none of it."""


class Site(NamedTuple):
    """Where connections lead: all requests to one site may share them."""

    scheme: str
    host: str
    port: int


class Target(NamedTuple):
    """A URL, taken apart once."""

    site: Site
    # The head from behind the method to the end of the host line.
    lead: str


def parse_url(url: str) -> Target:
    """Take an absolute http or https URL apart; raise Unfit."""
    try:
        parts = urlsplit(url)
        host = (parts.hostname or "").encode("ascii" if url.isascii() else "idna").decode()
        port = parts.port or _PORTS[parts.scheme]
    except (KeyError, ValueError):
        raise Unfit("the provider's URL is not one of http or https") from None
    if not host or "@" in parts.netloc or _UNSAFE_URL.search(url):
        raise Unfit("the provider's URL has no host, or a user name, a space or a control character")
    named = f"[{host}]" if ":" in host else host
    if port != _PORTS[parts.scheme]:
        named = f"{named}:{port}"
    path = quote(parts.path or "/", safe=_PATH_SAFE)
    if parts.query:
        path = f"{path}?{quote(parts.query, safe=_PATH_SAFE)}"
    return Target(Site(parts.scheme, host, port), f" {path} HTTP/1.1\r\nhost: {named}\r\n")
