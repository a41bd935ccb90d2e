"""Makes the heads of responses, in which no header can become two."""

from __future__ import annotations

from collections.abc import Sequence

from uvicorn.protocols.http.httptools_impl import HEADER_RE, STATUS_LINE

Headers = Sequence[tuple[bytes, bytes]]

_FRAMING = frozenset({b"content-length", b"transfer-encoding", b"connection"})
# Names that were checked once, so that a response's usual headers cost a lookup each.
_checked_names: dict[bytes, bytes] = {}
# Heads with a gap for each value: applications send few sets of names, over and over.
_forms: dict[tuple[int, tuple[bytes, ...]], bytes] = {}
_LIMIT = 1024


def unframed_head(status: int, headers: Headers) -> bytes | None:
    """Return a head without its end, where none of `headers` says how the body is framed; else None."""
    if not headers:
        return None
    names, values = zip(*headers, strict=True)
    form = _forms.get((status, names))
    if form is None:
        form = _form(status, names)
    if not form:
        return None
    head: bytes = form % values
    _check_lines(head, len(names) + 1)
    return head


def read_headers(status: int, headers: Headers) -> tuple[list[bytes], int | None, bool]:
    """Return the head's lines so far, the body's length if it is given, and whether the connection closes after it.

    What says that the body is chunked is left out: whoever frames it adds that.
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
    """Return a head without its end; raise RuntimeError when a header holds a line of its own."""
    head = b"\r\n".join([*lines, b""])
    _check_lines(head, len(lines))
    return head


def _check_lines(head: bytes, lines: int) -> None:
    # Every line end is ours: a header value that held one would have made a header of its own.
    if head.count(b"\n") != lines or head.count(b"\r") != lines or b"\0" in head:
        raise RuntimeError("A response header holds a line break or NUL")


def _form(status: int, names: tuple[bytes, ...]) -> bytes:
    """Return a head with a gap for each value, b"" when there is framing among the names, and remember it."""
    lines = [STATUS_LINE[status][:-2]]
    form = b""
    for raw in names:
        name = _checked_names.get(raw) or _check_name(raw)
        if name in _FRAMING:
            break
        lines.append(name.replace(b"%", b"%%") + b": %b")
    else:
        form = b"\r\n".join([*lines, b""])
    if len(_forms) < _LIMIT:
        _forms[status, names] = form
    return form


def _check_name(raw: bytes) -> bytes:
    if not raw or HEADER_RE.search(raw):
        raise RuntimeError("A response header's name is not valid")
    name = raw.lower()
    if len(_checked_names) < _LIMIT:
        _checked_names[raw] = name
    return name
