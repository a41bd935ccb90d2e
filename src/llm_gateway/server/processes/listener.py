"""Binds the listening socket, and returns its URL."""

from __future__ import annotations

import errno
import socket

BACKLOG = 2048


class CannotServe(Exception):
    """The server cannot start; the message says why, and which setting to change."""


def listen(host: str, port: int) -> socket.socket:
    """Return a TCP socket that listens on `host` and `port` (0 picks a free port); raise CannotServe."""
    # As bytes where it can be: of text, Python imports the rules of international names.
    name = host.encode() if host.isascii() else host
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            name, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except OSError as error:
        raise CannotServe(f"HOST={host} is not an address to listen on: {error.strerror}.") from None
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise CannotServe(_explain(error, host, port)) from None
    listener.setblocking(False)
    return listener


def url_of(listener: socket.socket) -> str:
    """Return the URL that reaches `listener` from this machine, e.g. `http://127.0.0.1:18000`."""
    host, port = listener.getsockname()[:2]
    if host in {"0.0.0.0", "::"}:  # noqa: S104 - replaced on the next line
        host = "127.0.0.1" if listener.family == socket.AF_INET else "::1"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _explain(error: OSError, host: str, port: int) -> str:
    if error.errno == errno.EADDRINUSE:
        return (
            f"Another process already listens on HOST={host} PORT={port}. "
            "Stop it, or set PORT to a free port (PORT=0 picks one)."
        )
    if error.errno == errno.EACCES:
        return f"PORT={port} on HOST={host} needs privileges that this process lacks. Set PORT above 1023."
    if error.errno == errno.EADDRNOTAVAIL:
        return f"HOST={host} is not an address of this machine. Set HOST to one, or to 0.0.0.0 for all."
    return f"Cannot listen on HOST={host} PORT={port}: {error.strerror}."
