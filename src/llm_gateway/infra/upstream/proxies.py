"""Reads HTTP_PROXY, HTTPS_PROXY and NO_PROXY, and tells which requests need a proxy."""

from __future__ import annotations

import base64
import ipaddress
import re
from collections.abc import Mapping
from functools import lru_cache
from urllib.parse import unquote, urlsplit

import msgspec

from llm_gateway.core.secret import Secret

_SCHEMES = ("http", "https")
_PORTS = {"http": 80, "https": 443}
_HOST = re.compile(r"[a-z0-9._:%-]+")


class InvalidProxy(ValueError):
    """A proxy variable has a value that cannot be used; the message names the variable and holds no secret."""


class Proxy(msgspec.Struct, frozen=True):
    """A proxy: its URL without a user, and `user:password` if it requires one."""

    url: str
    user: Secret | None = None

    def authorization(self) -> str | None:
        """Return the value of Proxy-Authorization, None without a user."""
        if self.user is None:
            return None
        return f"Basic {base64.b64encode(self.user.reveal().encode()).decode()}"


class ProxySettings:
    """The proxy of each scheme, and the hosts that are reached without one."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        """Read the variables in lower or upper case; the lower-case one wins, as in other tools.

        Raises InvalidProxy.
        """
        self._proxies: dict[str, Proxy] = {}
        for scheme in _SCHEMES:
            name = f"{scheme}_proxy"
            if value := _value(environ, name):
                self._proxies[scheme] = _parse(name.upper(), value)
        self._direct = [
            entry for entry in _value(environ, "no_proxy").lower().replace(",", " ").split() if entry
        ]
        self.find = lru_cache(maxsize=1024)(self._find)

    def __bool__(self) -> bool:
        """Tell whether there is a proxy."""
        return bool(self._proxies)

    def _find(self, url: str) -> Proxy | None:
        """Return the proxy that a request to `url` needs, None if it needs none."""
        try:
            parts = urlsplit(url)
            proxy = self._proxies.get(parts.scheme)
            if proxy is None:
                return None
            host, port = (parts.hostname or "").rstrip("."), parts.port or _PORTS[parts.scheme]
        except ValueError:
            return None
        return None if any(_covers(entry, host, port) for entry in self._direct) else proxy


def _value(environ: Mapping[str, str], name: str) -> str:
    return environ.get(name, environ.get(name.upper(), "")).strip()


def _parse(name: str, value: str) -> Proxy:
    invalid = InvalidProxy(
        f"{name} must be the http or https URL of a proxy, such as http://proxy.example:3128."
    )
    try:
        parts = urlsplit(value if "://" in value else f"http://{value}")
        host, port = parts.hostname, parts.port
    except ValueError:
        raise invalid from None
    if not host or parts.scheme not in _SCHEMES or not _HOST.fullmatch(host):
        raise invalid
    named = f"[{host}]" if ":" in host else host
    user = None
    if parts.username is not None:
        user = Secret(f"{unquote(parts.username)}:{unquote(parts.password or '')}")
    return Proxy(f"{parts.scheme}://{named}:{port or _PORTS[parts.scheme]}", user)


def _covers(entry: str, host: str, port: int) -> bool:
    """Tell whether an entry of NO_PROXY covers a host.

    An entry is `*`, a host or domain, an address, each of these with a port, or a network.
    """
    if entry == "*":
        return True
    if "/" in entry:
        return _contains(entry, host)
    if (
        (ends := entry.rpartition(":"))[1]
        and ends[2].isdecimal()
        and (":" not in ends[0] or entry.startswith("["))
    ):
        if int(ends[2]) != port:
            return False
        entry = ends[0]
    entry = entry.strip("[]").removeprefix("*").strip(".")
    return bool(entry) and (host == entry or host.endswith(f".{entry}"))


def _contains(network: str, host: str) -> bool:
    try:
        return ipaddress.ip_address(host) in ipaddress.ip_network(network, strict=False)
    except ValueError:
        return False
