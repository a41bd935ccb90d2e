"""HTTP/1.1 messages without I/O: encodes requests, parses replies."""

from __future__ import annotations

import re
from collections.abc import Mapping

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from llm_gateway.infra.upstream.address import InvalidRequest, RequestTarget
from llm_gateway.infra.upstream.http11.whole_chunks import cut_chunks
from llm_gateway.infra.upstream.http11.whole_reply import body_of, chunks_start
from llm_gateway.providers.base import UpstreamRequest

# The most bytes without any of the body: head, interim replies, chunk extensions, trailers.
OVERHEAD_LIMIT = 64 * 1024
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
# Headers that the transport sets: a second one of these would allow request smuggling.
_TRANSPORT_HEADERS = frozenset({"host", "content-length", "transfer-encoding", "connection"})
_NO_HEADERS: Mapping[bytes, bytes] = {}
_REQUEST_ID = "x-request-id"
# Adapters use few sets of header names, again and again.
_MAX_TEMPLATES = 256
_templates: dict[tuple[str, ...], str] = {}
# As many names of headers are remembered, up to this length.
_MAX_NAMES = 1024
_LONGEST_NAME = 64
# The length within which a chunk-size line without extensions ends.
_CHUNK_HEAD = 10
# What ends a chunked body without trailers.
_LAST_CHUNK = b"0\r\n\r\n"
_LAST_SIZE = len(_LAST_CHUNK)


class MalformedReply(Exception):
    """The peer's bytes are not a valid reply; the message holds none of them."""


def encode_head(request: UpstreamRequest, target: RequestTarget) -> bytes:
    """Return the request up to its body; raise InvalidRequest for a header that could inject another one."""
    headers = request.headers
    names = tuple(headers)
    template = _templates.get(names) or _template(names)
    values = tuple(headers.values())
    # A line end in a value would begin another header.
    together = "".join(values)
    if "\n" in together or "\r" in together or "\0" in together:
        raise InvalidRequest("a request header contains a line break or NUL")
    lines = template % values
    method, size = request.method, len(request.body)
    length = f"content-length: {size}\r\n" if size or method != "GET" else ""
    try:
        return f"{method}{target.head_start}{lines}{length}\r\n".encode("latin-1")
    except UnicodeEncodeError:
        raise InvalidRequest("a request header contains characters outside Latin-1") from None


def split_head(request: UpstreamRequest, target: RequestTarget) -> tuple[bytes, bytes]:
    """Return the head of a request with a body before and after its `x-request-id`, up to the digits of its length.

    Raise InvalidRequest as `encode_head` does, and for a request without this header.
    """
    if _REQUEST_ID not in request.headers:
        raise InvalidRequest("the request has no x-request-id")
    # No value has a line end, so that the line stands in one place alone.
    mark = "a place for the id"
    marked = UpstreamRequest(request.url, {**request.headers, _REQUEST_ID: mark}, b".", request.method)
    head = encode_head(marked, target)
    before, _, after = head.partition(f"\r\n{_REQUEST_ID}: {mark}\r\n".encode())
    return before + f"\r\n{_REQUEST_ID}: ".encode(), b"\r\n" + after.removesuffix(b"1\r\n\r\n")


def _template(names: tuple[str, ...]) -> str:
    """Return the header lines of `names` with a placeholder for each value; cached."""
    for name in names:
        if _TOKEN.fullmatch(name) is None:
            raise InvalidRequest("the name of a request header is not a valid token")
        if name.lower() in _TRANSPORT_HEADERS:
            raise InvalidRequest(f"the request header {name.lower()} is set by the transport")
    template = "".join(f"{name.replace('%', '%%')}: %s\r\n" for name in names)
    if len(_templates) >= _MAX_TEMPLATES:
        _templates.clear()
    _templates[names] = template
    return template


def whole_chunk(data: bytes) -> bytes:
    """Return the content of `data` if it is exactly one chunk of a chunked body, without extensions, else b""."""
    start = data.find(b"\n", 0, _CHUNK_HEAD) + 1
    size = len(data) - start - 2
    if size <= 0 or not data.startswith(b"%x\r\n" % size) or not data.endswith(b"\r\n"):
        return b""
    return data[start:-2]


def is_between_chunks(data: bytes, pieces: list[bytes]) -> bool:
    """Tell whether the parser is between two chunks of a body, after it has decoded `data` into `pieces`.

    Bytes that look like a whole chunk may be the middle of another one; then the decoded piece is at the very
    start of `data`.
    """
    return len(pieces) == 1 and whole_chunk(data) == pieces[0] and not data.startswith(pieces[0])


class ReplyParser:
    """Parses the replies of one connection, one after the other; call `begin` before each.

    `status` is 0 until the final head is complete. `headers` have lower-case names; of equal names the last one
    counts. `pieces` are the parts of the body that have arrived and were not taken yet.

    A usual reply that arrives whole is only recognised; its headers are read when somebody asks for them. So is the
    head of a usual chunked reply: what parses HTTP sees it, and what follows, only if something unusual comes.
    """

    __slots__ = (
        "_has_twins", "_headers", "_is_ahead", "_is_framed", "_overhead", "_parser", "_raw", "ambiguous",
        "at_chunk", "coding", "complete", "keep_alive", "keep_alive_terms", "on_body", "on_header", "pieces",
        "recognised", "status",
    )  # fmt: skip

    def __init__(self) -> None:
        self.pieces: list[bytes] = []
        self._raw: dict[bytes, bytes] = {}
        # C methods that the parser calls directly, so that headers and pieces cost no Python frame.
        self.on_body = self.pieces.append
        self.on_header = self._raw.__setitem__
        self._parser = HttpResponseParser(self)
        self.begin()

    def begin(self) -> None:
        """Expect the next reply."""
        self.status = 0
        # None = nobody has asked for those of `recognised`, which is a whole reply, or the head of a chunked one.
        self._headers: Mapping[bytes, bytes] | None = _NO_HEADERS
        # Whether the head says where the body ends, and whether names in it differ in case alone.
        self._is_framed = self._has_twins = False
        self.recognised: bytes | None = None
        # `recognised` is a head that the parser has to see before anything else of its reply.
        self._is_ahead = False
        # The next bytes begin a chunk of the body: then `feed_chunks` may take them.
        self.at_chunk = False
        # The headers `content-encoding` and `keep-alive`; None = there is none.
        self.coding: bytes | None = None
        self.keep_alive_terms: bytes | None = None
        # The last byte of the reply has arrived.
        self.complete = False
        # The connection may carry another request; known when complete.
        self.keep_alive = False
        # Bytes followed the reply, or it began before the request was sent: what comes next on this connection may
        # not belong to the next request.
        self.ambiguous = False
        self._overhead = 0
        self.pieces.clear()

    def feed(self, data: bytes) -> None:
        """Parse bytes from the peer; raise MalformedReply. What was decoded before stays valid."""
        before, headless = len(self.pieces), not self.status
        if headless and body_of is not None and not self._overhead and len(data) <= OVERHEAD_LIMIT:
            # Nothing of this reply was read before.
            body = body_of(data)
            if body is not None:
                self.pieces.append(body)
                self.status, self.complete, self.keep_alive = 200, True, True
                self._headers, self.recognised = None, data
                return
            if (start := chunks_start(data)) and self._begin_chunks(data, start):
                return
        self.at_chunk = False
        try:
            if self._is_ahead:
                self._is_ahead = False
                self._parser.feed_data(self.recognised or b"")
            if headless and data.endswith(b"\r\n"):
                self._feed_chunks(data)
            else:
                self._parser.feed_data(data)
        except (HttpParserError, HttpParserUpgrade):
            if self.complete:
                self.ambiguous = True
                return
            raise MalformedReply("the provider's reply is not valid HTTP") from None
        if self.complete and len(data) <= OVERHEAD_LIMIT:
            # As most replies are: whole, in one piece.
            return
        if len(self.pieces) > before or self.complete:
            self._overhead = 0
        else:
            self._overhead += len(data)
        if self._overhead > OVERHEAD_LIMIT or (
            headless and len(data) > OVERHEAD_LIMIT and self._head_is_huge()
        ):
            raise MalformedReply("the provider's reply has too many bytes outside its body")

    def feed_chunks(self, data: bytes) -> bool:
        """Take whole chunks, and the end of the body if it follows; False, with nothing done, for anything else.

        Only `at_chunk`.
        """
        content, end = cut_chunks(data, 0)
        if end != len(data):
            if len(data) - end != _LAST_SIZE or data[end:] != _LAST_CHUNK:
                return False
            self.at_chunk = False
            if self._is_ahead:
                self.complete = self.keep_alive = True
            else:
                self._parser.feed_data(_LAST_CHUNK)
        if content:
            self.pieces.append(content)
            self._overhead = 0
        return True

    def end(self) -> bool:
        """Record that the peer has closed the stream; return whether the reply is complete."""
        if self.status and not self.complete and not self._is_framed:
            self.complete = True
        return self.complete

    def take(self) -> bytes:
        """Return the parts of the body that have arrived, joined."""
        pieces = self.pieces
        data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        pieces.clear()
        return data

    def release(self) -> None:
        """Break the reference cycle with the parser, so that memory is freed at once. Ends the use of this object."""
        del self._parser

    @property
    def headers(self) -> Mapping[bytes, bytes]:
        """The reply's headers."""
        headers = self._headers
        if headers is None:
            headers = self._headers = _HeaderReader(self.recognised or b"").headers
        return headers

    def forget_headers(self) -> Mapping[bytes, bytes]:
        """Let go of the headers, of which nobody asks for any once the body is relayed; return none."""
        self._headers = _NO_HEADERS
        return _NO_HEADERS

    # --- called by httptools ---

    def on_message_begin(self) -> None:
        """Start again after an interim reply; reject a reply without a request."""
        if self.complete:
            raise MalformedReply
        self._raw.clear()

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if status < 200:
            return
        raw = self._raw
        headers = self._headers = _lowered(raw)
        coding = headers.get(b"transfer-encoding")
        if coding is not None and coding.lower() != b"chunked":
            raise MalformedReply
        self._is_framed = coding is not None or b"content-length" in headers
        self._has_twins = len(headers) != len(raw)
        # A stream may be open for long.
        raw.clear()
        self.coding, self.keep_alive_terms = headers.get(b"content-encoding"), headers.get(b"keep-alive")
        self.status = status

    def on_message_complete(self) -> None:
        if self.status:
            self.complete = True
            self.keep_alive = self._parser.should_keep_alive()

    def _begin_chunks(self, data: bytes, start: int) -> bool:
        """Take a head that ends at `start`, and the chunks behind it; False, with nothing done, if there is more."""
        content, end = cut_chunks(data, start)
        if end == len(data):
            self.at_chunk = True
        elif len(data) - end == _LAST_SIZE and data[end:] == _LAST_CHUNK:
            self.complete = self.keep_alive = True
        else:
            return False
        if content:
            self.pieces.append(content)
        else:
            self._overhead = len(data)
        self.status, self._is_framed = 200, True
        self._headers, self.recognised, self._is_ahead = None, data[:start], True
        return True

    def _feed_chunks(self, data: bytes) -> None:
        """Parse the head of a reply that may be chunked, and what follows it; usual chunks are cut out unparsed."""
        start = data.find(b"\r\n\r\n") + 4
        if start > 3:
            self._parser.feed_data(data[:start])
            if self._is_before_chunks():
                content, end = cut_chunks(data, start)
                if content:
                    self.pieces.append(content)
                    start = end
                self.at_chunk = start == len(data)
            data = data[start:]
        if data:
            self._parser.feed_data(data)

    def _is_before_chunks(self) -> bool:
        """Tell whether the head has just been parsed, and the parser will take what follows for chunks."""
        return (
            self.status == 200
            and b"transfer-encoding" in self.headers
            # Of names that differ in case alone, the parser may have heeded another one.
            and not self._has_twins
            and not (self.complete or self.pieces)
        )

    def _head_is_huge(self) -> bool:
        # Of an interim reply the one, of the final one the other.
        found = (self._raw, self.headers)
        return sum(len(name) + len(value) for one in found for name, value in one.items()) > OVERHEAD_LIMIT


class _HeaderReader:
    """Reads the headers of a whole reply."""

    def __init__(self, data: bytes) -> None:
        self._raw: dict[bytes, bytes] = {}
        # As in a ReplyParser, by C methods.
        self.on_header = self._raw.__setitem__
        HttpResponseParser(self).feed_data(data)

    @property
    def headers(self) -> Mapping[bytes, bytes]:
        return _lowered(self._raw)


class _LowerNames(dict[bytes, bytes]):
    """The names of headers in lower case, by how they were written: servers send the same few again and again."""

    def __missing__(self, name: bytes) -> bytes:
        lower = name.lower()
        if len(self) < _MAX_NAMES and len(name) <= _LONGEST_NAME:
            self[name] = lower
        return lower


_lower_name = _LowerNames().__getitem__


def _lowered(raw: Mapping[bytes, bytes]) -> Mapping[bytes, bytes]:
    # Without a Python step for each of them.
    return dict(zip(map(_lower_name, raw), raw.values(), strict=True))
