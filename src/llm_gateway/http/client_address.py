"""The address of a client: that of its connection, or what trusted proxies in front of the gateway say."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from llm_gateway.http.types import Scope

_Address = IPv4Address | IPv6Address
_HEADER = b"x-forwarded-for"
_PROTO_HEADER = b"x-forwarded-proto"
# So many proxies are looked at, from the nearest one on.
_MOST_HOPS = 32
_LONGEST_HOP = 64


class TrustedProxies:
    """Reads `X-Forwarded-For`, to which each proxy appends the address that it got the request from."""

    def __init__(self, networks: Iterable[str] = ()) -> None:
        """`networks` are addresses, or networks in CIDR notation; without any, the header is ignored."""
        self._networks = tuple(ip_network(network) for network in networks)
        # Connections come from few proxies.
        self._is_trusted = lru_cache(maxsize=256)(self._look_up)

    def client_ip(self, scope: Scope) -> str | None:
        """Return the nearest address that is no trusted proxy's; None if the server does not know the client's."""
        client = scope.get("client")
        peer: str | None = client[0] if client else None
        if peer is None or not self._networks:
            return peer
        nearest = _parse(peer)
        if nearest is None or not self._is_trusted(nearest):
            return peer
        values = [value for name, value in scope["headers"] if name == _HEADER]
        for hop in reversed(b",".join(values).rsplit(b",", _MOST_HOPS)[-_MOST_HOPS:]):
            address = _parse(hop.decode("latin-1"))
            if address is None:
                # Not an address: nothing before it can be believed.
                break
            nearest = address
            if not self._is_trusted(address):
                break
        return str(nearest)

    def forwarded_proto(self, scope: Scope) -> str | None:
        """Return the scheme that a trusted proxy was asked with, such as "https"; None if none says it."""
        client = scope.get("client")
        peer = _parse(client[0]) if client and self._networks else None
        if peer is None or not self._is_trusted(peer):
            return None
        values = [value for name, value in scope["headers"] if name == _PROTO_HEADER]
        # The nearest proxy is the one that is trusted.
        return values[-1].rsplit(b",", 1)[-1].strip().lower().decode("latin-1") if values else None

    def _look_up(self, address: _Address) -> bool:
        return any(address.version == network.version and address in network for network in self._networks)


def _parse(text: str) -> _Address | None:
    """Return an address, as `1.2.3.4`, `1.2.3.4:5`, `::1` or `[::1]:5`; None if it is none."""
    text = text.strip()
    if len(text) > _LONGEST_HOP:
        return None
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address
