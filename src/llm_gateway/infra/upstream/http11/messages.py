"""Speaks HTTP/1.1 as a client without any I/O: requests into bytes, bytes into replies."""

from __future__ import annotations

import re

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from llm_gateway.infra.upstream.address import Target, Unfit
from llm_gateway.providers.base import UpstreamRequest

# What may come without carrying a byte of the body: a head, interim replies, chunk extensions, trailers.
NOISE_LIMIT = 64 * 1024
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
# The transport's own business: a second one of these would split the message in two.
_OURS = frozenset({"host", "content-length", "transfer-encoding", "connection"})
# Adapters send few sets of names, over and over.
_MAX_FORMS = 256
_forms: dict[tuple[str, ...], str] = {}
# Bytes in which the line of a chunk's size ends, when nothing else stands in it.
_CHUNK_HEAD = 10


class NotHttp(Exception):
    """The peer's bytes are no reply; the message holds none of them."""


def encode_head(request: UpstreamRequest, target: Target) -> bytes:
    """Return the bytes up to the body; raise Unfit when a header would not stay one header."""
    headers = request.headers
    names = tuple(headers)
    form = _forms.get(names) or _form(names)
    values = tuple(headers.values())
    # A value with a line end would make a header of its own.
    together = "".join(values)
    if "\n" in together or "\r" in together or "\0" in together:
        raise Unfit("a request header holds a line end or a NUL")
    lines = form % values
    method, size = request.method, len(request.body)
    length = f"content-length: {size}\r\n" if size or method != "GET" else ""
    try:
        return f"{method}{target.lead}{lines}{length}\r\n".encode("latin-1")
    except UnicodeEncodeError:
        raise Unfit("a request header holds characters beyond Latin-1") from None


def _form(names: tuple[str, ...]) -> str:
    """Return the header lines of these names with a gap for each value, and remember it."""
    for name in names:
        if _TOKEN.fullmatch(name) is None:
            raise Unfit("a request header's name is not a token")
        if name.lower() in _OURS:
            raise Unfit(f"the request header {name.lower()} belongs to the transport")
    form = "".join(f"{name.replace('%', '%%')}: %s\r\n" for name in names)
    if len(_forms) >= _MAX_FORMS:
        _forms.clear()
    _forms[names] = form
    return form


def whole_chunk(data: bytes) -> bytes:
    """Return the content of `data` if that is one chunk of a chunked body, as most peers write it, else b""."""
    start = data.find(b"\n", 0, _CHUNK_HEAD) + 1
    size = len(data) - start - 2
    if size <= 0 or not data.startswith(b"%x\r\n" % size) or not data.endswith(b"\r\n"):
        return b""
    return data[start:-2]


def was_one_chunk(data: bytes, pieces: list[bytes]) -> bool:
    """Tell whether the parser, which made `pieces` of `data`, now stands between two chunks of a body.

    What is one chunk to look at may be the middle of another; then what came of it stands at its very start.
    """
    return len(pieces) == 1 and whole_chunk(data) == pieces[0] and not data.startswith(pieces[0])


class ReplyParser:
    """Reads the replies of one connection, one after the other; `begin` before each.

    `status` is 0 until a final head is here; `headers` have lower-case names, the last of equal names counts;
    `pieces` are the body's bytes that came and were not taken yet.
    """

    __slots__ = (
        "_noise", "_parser", "_raw", "complete", "headers", "keep_alive", "on_body", "on_header", "pieces",
        "status", "surplus",
    )  # fmt: skip

    def __init__(self) -> None:
        """Expect the first reply."""
        self.pieces: list[bytes] = []
        self._raw: dict[bytes, bytes] = {}
        # The parser calls these two itself, so that headers and pieces cost no Python frame.
        self.on_body = self.pieces.append
        self.on_header = self._raw.__setitem__
        self._parser = HttpResponseParser(self)
        self.begin()

    def begin(self) -> None:
        """Expect the next reply."""
        self.status = 0
        self.headers: dict[bytes, bytes] = {}
        # The reply's last byte is here.
        self.complete = False
        # The peer will read another request; known when complete.
        self.keep_alive = False
        # More came than the reply: nothing that follows on this connection can be trusted.
        self.surplus = False
        self._noise = 0
        self.pieces.clear()

    def feed(self, data: bytes) -> None:
        """Take bytes from the peer; raise NotHttp, what was complete before stays."""
        before, headless = len(self.pieces), not self.status
        try:
            self._parser.feed_data(data)
        except (HttpParserError, HttpParserUpgrade):
            if self.complete:
                self.surplus = True
                return
            raise NotHttp("the provider's answer is not HTTP") from None
        if len(self.pieces) > before or self.complete:
            self._noise = 0
        else:
            self._noise += len(data)
        if self._noise > NOISE_LIMIT or (headless and len(data) > NOISE_LIMIT and self._head_is_huge()):
            raise NotHttp("the provider's answer has too much around its body")

    def end(self) -> bool:
        """Take the peer's clean end; tell whether the reply is complete."""
        if self.status and not self.complete and self._ends_with_connection():
            self.complete = True
        return self.complete

    def take(self) -> bytes:
        """Return the body's bytes that are here, joined."""
        pieces = self.pieces
        data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        pieces.clear()
        return data

    def release(self) -> None:
        """Break the circle with the parser, so that memory is freed at once; to be used no more."""
        del self._parser

    # --- called by httptools ---

    def on_message_begin(self) -> None:
        """Start over after an interim reply; stop at a reply nobody asked for."""
        if self.complete:
            raise NotHttp
        self._raw.clear()

    def on_headers_complete(self) -> None:
        """Keep a final head."""
        status = self._parser.get_status_code()
        if status < 200:
            return
        self.headers = {name.lower(): value for name, value in self._raw.items()}
        coding = self.headers.get(b"transfer-encoding")
        if coding is not None and coding.lower() != b"chunked":
            raise NotHttp
        self.status = status

    def on_message_complete(self) -> None:
        """Note the end of a final reply."""
        if self.status:
            self.complete = True
            self.keep_alive = self._parser.should_keep_alive()

    def _ends_with_connection(self) -> bool:
        return b"content-length" not in self.headers and b"transfer-encoding" not in self.headers

    def _head_is_huge(self) -> bool:
        return sum(len(name) + len(value) for name, value in self._raw.items()) > NOISE_LIMIT
