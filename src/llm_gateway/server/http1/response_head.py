"""Builds the heads of responses. No header value can inject another header."""

from __future__ import annotations

import re
from http import HTTPStatus

from llm_gateway.sockets.head_join import Headers, join_head

# As in uvicorn's module for httptools, which is not imported for them: its protocol is not used here.
_NO_NAME = re.compile(rb'[\x00-\x1f\x7f()<>@,;:\[\]={} \t\\"]')
_PHRASES = {status.value: status.phrase.encode() for status in HTTPStatus}
STATUS_LINE = {
    status: b"HTTP/1.1 %d %b\r\n" % (status, _PHRASES.get(status, b"")) for status in range(100, 600)
}

_FRAMING = frozenset({b"content-length", b"transfer-encoding", b"connection"})
# Valid names in lower case: a header that was sent before costs one lookup.
_checked_names: dict[bytes, bytes] = {}
# Those of them that do not concern the framing of the body.
_plain_names: dict[bytes, bytes] = {}
# Heads with a placeholder for each value: applications send the same few sets of names again and again.
_templates: dict[tuple[int, tuple[bytes, ...]], bytes] = {}
_LIMIT = 1024


def unframed_head(status: int, headers: Headers) -> bytes | None:
    """Return a head without its final empty line; None if one of `headers` concerns the framing of the body."""
    if join_head is not None:
        quick = join_head(STATUS_LINE[status], headers, _plain_names, None)
        if quick is not None:
            return quick
    if not headers:
        return None
    names, values = zip(*headers, strict=True)
    template = _templates.get((status, names))
    if template is None:
        template = _make_template(status, names)
    if not template:
        return None
    head: bytes = template % values
    _check_lines(head, len(names) + 1)
    return head


def whole_response(status: int, headers: Headers, body: bytes) -> bytes | None:
    """Return a response with its content-length; None if one of `headers` concerns the framing of the body."""
    if join_head is not None:
        quick = join_head(STATUS_LINE[status], headers, _plain_names, body)
        if quick is not None:
            return quick
    if not headers:
        return None
    names, values = zip(*headers, strict=True)
    template = _templates.get((status, names))
    if template is None:
        template = _make_template(status, names)
    if not template:
        return None
    # As `unframed_head` and `_check_lines` do, without their frames. Not with `in`, which raises and discards an
    # error before it looks for bytes.
    head = template % values
    lines = len(names) + 1
    if head.count(b"\n") != lines or head.count(b"\r") != lines or head.find(b"\0") >= 0:
        _check_lines(head, lines)
    return b"%bcontent-length: %d\r\n\r\n%b" % (head, len(body), body)


def chunked_head(headers: Headers) -> bytes | None:
    """Return the whole head of a 200 with a body in chunks; None if one of `headers` concerns its framing."""
    head = unframed_head(200, headers)
    return None if head is None else head + b"transfer-encoding: chunked\r\n\r\n"


def read_headers(status: int, headers: Headers) -> tuple[list[bytes], int | None, bool]:
    """Return the lines of the head, the content-length if there is one, and whether the connection closes.

    `transfer-encoding: chunked` is left out of the lines: the caller frames the body and adds it.
    """
    lines = [STATUS_LINE[status][:-2]]
    length: int | None = None
    chunked = closes = False
    for raw_name, value in headers:
        name = _checked_names.get(raw_name) or _check_name(raw_name)
        if name in _FRAMING:
            if name == b"content-length":
                length = int(value)
            elif name == b"connection":
                closes = b"close" in value.lower()
            elif value.lower() == b"chunked":
                chunked = True
                continue
        lines.append(b"%b: %b" % (name, value))
    return lines, None if chunked else length, closes


def joined(lines: list[bytes]) -> bytes:
    """Return a head without its final empty line; raise RuntimeError if a header value contains a line break."""
    head = b"\r\n".join([*lines, b""])
    _check_lines(head, len(lines))
    return head


def _check_lines(head: bytes, lines: int) -> None:
    # There is one line break per line; any other comes from a header value and would inject a header.
    if head.count(b"\n") != lines or head.count(b"\r") != lines or head.find(b"\0") >= 0:
        raise RuntimeError("A response header contains a line break or NUL")


def _make_template(status: int, names: tuple[bytes, ...]) -> bytes:
    """Return and store a head with a placeholder for each value; b"" if a name concerns the framing."""
    lines = [STATUS_LINE[status][:-2]]
    template = b""
    for raw in names:
        name = _checked_names.get(raw) or _check_name(raw)
        if name in _FRAMING:
            break
        lines.append(name.replace(b"%", b"%%") + b": %b")
        if len(_plain_names) < _LIMIT:
            _plain_names[raw] = name
    else:
        template = b"\r\n".join([*lines, b""])
    if len(_templates) < _LIMIT:
        _templates[status, names] = template
    return template


def _check_name(raw: bytes) -> bytes:
    if not raw or _NO_NAME.search(raw):
        raise RuntimeError("A response header has an invalid name")
    name = raw.lower()
    if len(_checked_names) < _LIMIT:
        _checked_names[raw] = name
    return name
