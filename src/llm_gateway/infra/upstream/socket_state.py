"""Looks at a socket: what has arrived and was not read yet, and what has not reached the peer yet."""

from __future__ import annotations

import asyncio
import fcntl
import select
import ssl
import struct
import termios
from collections.abc import Callable

# Takes a timeout in milliseconds; returns an empty list if nothing can be read.
Poll = Callable[[int], list[tuple[int, int]]]


def input_poll(transport: asyncio.BaseTransport) -> Poll | None:
    """Return the `poll` of a transport's socket, None for a transport without one.

    It also reports the end of the connection and errors. It must not be called after the transport closed its
    socket: the number of the socket may belong to another one by then.
    """
    sock = transport.get_extra_info("socket")
    if sock is None:
        return None
    poll = select.poll()
    poll.register(sock.fileno(), select.POLLIN)
    return poll.poll


def is_tls(transport: asyncio.BaseTransport) -> bool:
    """Tell whether what arrives on the socket is TLS records, which need not carry any content."""
    return transport.get_extra_info("ssl_object") is not None


def has_unsent(transport: asyncio.WriteTransport) -> bool:
    """Tell whether some of what was written has not reached the peer's host.

    A reply that has been received acknowledges all that its server had received. Where the system does not know,
    only what this process holds back counts.
    """
    if transport.get_write_buffer_size():
        return True
    sock = transport.get_extra_info("socket")
    if sock is None:
        return False
    try:
        (size,) = struct.unpack("i", fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, bytes(4)))
    except OSError:
        return False
    return bool(size)


def closed_cleanly(transport: asyncio.Transport) -> bool:
    """Tell whether the peer has closed the stream. Over TLS only close_notify proves that; EOF may be forged."""
    tls: ssl.SSLObject | None = transport.get_extra_info("ssl_object")
    if tls is None:
        return True
    try:
        return not tls.read(1)
    except ssl.SSLError:
        return False
