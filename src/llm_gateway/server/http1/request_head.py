"""Validates the head of a request: rejects what the parser accepts and a gateway must not."""

from __future__ import annotations

import re
import urllib.parse
from typing import Any, NamedTuple

from llm_gateway.server.http1.client_connection import ClientConnection
from llm_gateway.server.http1.limits import HttpLimits
from llm_gateway.server.http1.rejection import HttpRejection

Headers = list[tuple[bytes, bytes]]

# The characters of an authority (RFC 3986) without user information. Valid values are remembered.
_HOST = re.compile(rb"[A-Za-z0-9._~!$&'()*+,;=%:\[\]-]*")
_known_hosts: set[bytes] = set()
_KNOWN_HOSTS_LIMIT = 1024
_HOP_BY_HOP_OF_UPGRADES = frozenset({b"connection", b"http2-settings"})


class Head(NamedTuple):
    """The valid head of a request; `path` is percent-decoded."""

    path: str
    raw_path: bytes
    query: bytes
    expects_continue: bool


def read_head(method: bytes, version: str, target: bytes, headers: Headers) -> Head:
    """Return what the application needs; raise HttpRejection. Names in `headers` are in lower case."""
    if version not in {"1.1", "1.0"}:
        raise HttpRejection(505, "unsupported_http_version", "Only HTTP/1.1 and HTTP/1.0 are supported.")
    known = dict(headers)
    host = known.get(b"host", b"")
    if len(known) < len(headers) or not host:
        _check_hosts(version, headers)
    expects_continue = version == "1.1" and known.get(b"expect", b"").lower() == b"100-continue"
    if b"transfer-encoding" in known:
        for name, value in headers:
            if name == b"transfer-encoding":
                _check_transfer_encoding(version, value)
    if host not in _known_hosts:
        _check_host(host)
    if target[:1] != b"/":
        target = _own_target(method, target, host)
    if b"#" in target:
        raise HttpRejection(400, "invalid_target", "The request target must not contain a fragment (#...).")
    raw_path, _, query = target.partition(b"?")
    path = raw_path.decode("ascii")
    if "%" in path:
        path = urllib.parse.unquote(path)
    return Head(path, raw_path, query, expects_continue)


def scope_of(head: Head, method: str, version: str, connection: ClientConnection) -> dict[str, Any]:
    """Return the ASGI scope of a request on `connection`, without its headers."""
    return {
        "type": "http",
        "asgi": {"version": connection.asgi_version, "spec_version": "2.3"},
        "http_version": version,
        "server": connection.server,
        "client": connection.client,
        "scheme": connection.scheme,
        "method": method,
        "root_path": connection.root_path,
        "path": connection.root_path + head.path,
        "raw_path": head.raw_path,
        "query_string": head.query,
    }


def size_of(target: bytes, headers: Headers) -> int:
    """Return the approximate size of a head in bytes: request line and headers with their separators."""
    return len(target) + 16 + sum(len(name) + len(value) + 4 for name, value in headers)


def too_large(limits: HttpLimits) -> HttpRejection:
    """Return the rejection of a head that exceeds its limits."""
    return HttpRejection(
        431,
        "request_head_too_large",
        f"The request head exceeds {limits.head_bytes} bytes or {limits.headers} headers.",
    )


def without_upgrade(method: bytes, target: bytes, version: str, headers: Headers) -> bytes:
    """Return the head of a request in a form that does not ask for another protocol.

    RFC 9110 allows a server to ignore an upgrade and to answer the request itself, body included. `Upgrade` stays, so
    that the application can tell; without `Connection: upgrade` it has no effect.
    """
    tokens: list[bytes] = []
    for name, value in headers:
        if name == b"connection":
            tokens += [token.strip() for token in value.lower().split(b",")]
    retained = [token for token in tokens if token in {b"close", b"keep-alive"}]
    lines = [b"%b %b HTTP/%b" % (method, target, version.encode())]
    lines += [b"connection: " + token for token in retained]
    lines += [b"%b: %b" % header for header in headers if header[0] not in _HOP_BY_HOP_OF_UPGRADES]
    return b"\r\n".join([*lines, b"", b""])


def _check_hosts(version: str, headers: Headers) -> None:
    hosts = sum(name == b"host" for name, _ in headers)
    if hosts != 1 and (hosts or version == "1.1"):
        raise HttpRejection(
            400, "invalid_host", f"A request needs exactly one Host header; this one has {hosts}."
        )


def _check_transfer_encoding(version: str, value: bytes) -> None:
    if version != "1.1":
        raise HttpRejection(400, "malformed_request", "HTTP/1.0 has no Transfer-Encoding.")
    if value.lower() != b"chunked":
        raise HttpRejection(
            501, "unsupported_transfer_encoding", "The only supported Transfer-Encoding is chunked."
        )


def _check_host(host: bytes) -> None:
    if not _HOST.fullmatch(host):
        raise HttpRejection(400, "invalid_host", "The Host header is not a host name with an optional port.")
    if len(_known_hosts) < _KNOWN_HOSTS_LIMIT and len(host) < 256:
        _known_hosts.add(host)


def _own_target(method: bytes, target: bytes, host: bytes) -> bytes:
    """Return the path and query of a target in absolute form; raise HttpRejection if it names another host."""
    if target == b"*" and method == b"OPTIONS":
        return target
    scheme, separator, rest = target.partition(b"://")
    if separator and scheme.lower() in {b"http", b"https"}:
        end = min(at for at in (rest.find(b"/"), rest.find(b"?"), len(rest)) if at >= 0)
        if rest[:end].lower() == host.lower():
            path = rest[end:]
            return path if path[:1] == b"/" else b"/" + path
    raise HttpRejection(
        400, "invalid_target", "The request target must be a path: this server is not a forward proxy."
    )
