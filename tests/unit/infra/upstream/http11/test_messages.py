"""Requests into bytes, bytes into replies, without a socket."""

from __future__ import annotations

import gc
import weakref
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_gateway.infra.upstream.address import InvalidRequest, ServerAddress, parse_url
from llm_gateway.infra.upstream.http11 import messages as http11
from llm_gateway.infra.upstream.http11.messages import MalformedReply, ReplyParser, encode_head, split_head
from llm_gateway.providers.base import UpstreamRequest

OK = b"HTTP/1.1 200 OK\r\n"
HELLO = OK + b"content-length: 5\r\n\r\nhello"
CHUNKED = OK + b"transfer-encoding: chunked\r\n\r\n"


# --- URLs ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "server", "head_start"),
    [
        ("http://a.example", ServerAddress("http", "a.example", 80), " / HTTP/1.1\r\nhost: a.example\r\n"),
        (
            "https://A.Example/v1",
            ServerAddress("https", "a.example", 443),
            " /v1 HTTP/1.1\r\nhost: a.example\r\n",
        ),
        (
            "http://a:8080/x?y=%2F&z",
            ServerAddress("http", "a", 8080),
            " /x?y=%2F&z HTTP/1.1\r\nhost: a:8080\r\n",
        ),
        ("https://a:443/", ServerAddress("https", "a", 443), " / HTTP/1.1\r\nhost: a\r\n"),
        ("http://[::1]:81/", ServerAddress("http", "::1", 81), " / HTTP/1.1\r\nhost: [::1]:81\r\n"),
        ("http://a/v1#part", ServerAddress("http", "a", 80), " /v1 HTTP/1.1\r\nhost: a\r\n"),
        (
            "http://b\u00fccher.example/m\u00f6del:do",
            ServerAddress("http", "xn--bcher-kva.example", 80),
            " /m%C3%B6del:do HTTP/1.1\r\nhost: xn--bcher-kva.example\r\n",
        ),
    ],
)
def test_a_url_is_taken_apart(url: str, server: ServerAddress, head_start: str) -> None:
    assert parse_url(url)[:2] == (server, head_start)


@pytest.mark.parametrize(
    "url",
    [
        "", "a/b", "ftp://a/", "http://", "http:///x", "http://a:b/", "http://a:99999/", "http://u:p@a/",
        "http://@a/", "http://a/b c", "http://a/\r\nx: y", "http://a/\tb", "http://a\n", "http://[::1/",
        "http://\u2028/",
    ],
)  # fmt: skip
def test_a_url_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        parse_url(url)
    assert "a/" not in str(caught.value)


# --- requests --------------------------------------------------------------------------------------


def _head(headers: dict[str, str], method: str = "POST", body: bytes = b"hi") -> bytes:
    request = UpstreamRequest(url="http://a/x", headers=headers, body=body, method=method)
    return encode_head(request, parse_url(request.url))


def test_a_request_head() -> None:
    assert _head({"one": "1", "two": "2 %s"}) == (
        b"POST /x HTTP/1.1\r\nhost: a\r\none: 1\r\ntwo: 2 %s\r\ncontent-length: 2\r\n\r\n"
    )
    assert _head({}, body=b"") == b"POST /x HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n"
    assert _head({}, "GET", b"") == b"GET /x HTTP/1.1\r\nhost: a\r\n\r\n"
    assert _head({"a": "caf\u00e9"}).count(b"a: caf\xe9\r\n") == 1
    assert b"\r\n%d%s: 1\r\n" in _head({"%d%s": "1"})


@given(st.text(max_size=20), st.text(max_size=20))
def test_a_header_stays_one_header_or_is_refused(name: str, value: str) -> None:
    try:
        head = _head({name: value})
    except InvalidRequest:
        return
    lines = head.split(b"\r\n")
    assert lines[2] == f"{name}: {value}".encode("latin-1")
    assert len(lines) == 6
    assert head.count(b"\n") == head.count(b"\r") == 5
    assert b"\0" not in head


@pytest.mark.parametrize("value", ["x\r\ny: z", "\n", "\r", "\0", "\u0100"])
def test_a_refusal_does_not_tell_the_value(value: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        _head({"authorization": f"sk-secret{value}"})
    assert "secret" not in f"{caught.value!r} {caught.value.__context__ if caught.value.__cause__ else ''}"


@pytest.mark.parametrize("other", ["1", "x-request-id: a place for the id", "a place for the id"])
@pytest.mark.parametrize("is_first", [True, False])
def test_a_split_head_is_the_head_around_the_id_and_the_length(other: str, *, is_first: bool) -> None:
    """Whatever another header says, and wherever it stands."""
    named = {"x-request-id": "0190"}
    headers = {**named, "openai-beta": other} if is_first else {"openai-beta": other, **named}
    request = UpstreamRequest("http://a.test/v1/chat", headers, b"x" * 42)
    target = parse_url(request.url)
    before, after = split_head(request, target)
    assert before + b"0190" + after + b"42\r\n\r\n" == encode_head(request, target)


def test_forms_of_headers_do_not_pile_up() -> None:
    for number in range(1000):
        _head({f"x-{number}": "1"})
    assert len(http11._templates) <= 256


# --- replies ---------------------------------------------------------------------------------------


def _read(parser: ReplyParser, *pieces: bytes) -> tuple[int, bytes, bool]:
    parser.begin()
    for piece in pieces:
        parser.feed(piece)
    return parser.status, parser.take(), parser.complete


WIRES = [
    (HELLO, b"hello", True),
    (CHUNKED + b"3;x=y\r\nhel\r\n2\r\nlo\r\n0\r\nx-sum: 1\r\n\r\n", b"hello", True),
    (b"HTTP/1.1 100 Go on\r\n\r\n" + HELLO, b"hello", True),
    (OK + b"\r\nhello", b"hello", False),
    (OK + b"content-length: 9\r\n\r\nhello", b"hello", False),
]


@given(st.sampled_from(WIRES), st.lists(st.integers(min_value=0, max_value=120), max_size=12))
def test_a_reply_is_the_same_however_it_is_split(wire: tuple[bytes, bytes, bool], splits: list[int]) -> None:
    data, body, complete = wire
    edges = [0, *sorted(min(split, len(data)) for split in splits), len(data)]
    pieces = [data[start:end] for start, end in pairwise(edges) if start < end]
    assert _read(ReplyParser(), *pieces) == (200, body, complete)


def test_one_parser_reads_reply_after_reply() -> None:
    parser = ReplyParser()
    for data, body, complete in [WIRES[1], WIRES[0], WIRES[2], WIRES[0]]:
        assert _read(parser, data) == (200, body, complete)
        assert (parser.keep_alive, parser.ambiguous) == (True, False)


def test_headers_have_lower_case_names_and_trailers_are_none() -> None:
    parser = ReplyParser()
    data = (
        OK
        + b"Retry-After: 1\r\nTRANSFER-ENCODING: chunked\r\nretry-after: 2\r\n\r\n0\r\nretry-after: 9\r\n\r\n"
    )
    assert _read(parser, data) == (200, b"", True)
    assert parser.headers == {b"retry-after": b"2", b"transfer-encoding": b"chunked"}


def test_a_stream_that_is_relayed_holds_no_headers_and_ends_where_its_head_says() -> None:
    for terms, ends_with_connection in ((b"transfer-encoding: chunked\r\n", False), (b"", True)):
        parser = ReplyParser()
        parser.feed(OK + b"x-request-id: 1\r\n" + terms + b"\r\n")
        assert parser.headers[b"x-request-id"] == b"1"
        assert parser.forget_headers() == parser.headers == {}
        assert parser.end() is ends_with_connection


def test_names_are_the_same_objects_again() -> None:
    names = []
    for _ in range(2):
        parser = ReplyParser()
        parser.feed(OK + b"X-Some-Name: 1\r\ntransfer-encoding: chunked\r\n\r\n")
        names += [name for name in parser.headers if name == b"x-some-name"]
    assert names[0] is names[1]


def test_headers_of_interim_replies_are_not_the_replys() -> None:
    parser = ReplyParser()
    _read(parser, b"HTTP/1.1 103 Hints\r\nlink: x\r\n\r\n", HELLO)
    assert parser.headers == {b"content-length": b"5"}


@pytest.mark.parametrize("surplus", [HELLO, b"x", b"HTTP/1.1"])
@pytest.mark.parametrize("together", [True, False])
def test_what_follows_a_reply_is_noted_and_not_read(surplus: bytes, together: bool) -> None:
    parser = ReplyParser()
    assert _read(parser, *([HELLO + surplus] if together else [HELLO, surplus])) == (200, b"hello", True)
    assert parser.ambiguous
    assert parser.headers == {b"content-length": b"5"}


def test_what_follows_a_last_reply_is_noted_too() -> None:
    parser = ReplyParser()
    assert _read(parser, OK + b"connection: close\r\ncontent-length: 2\r\n\r\nhixx")[1] == b"hi"
    assert (parser.keep_alive, parser.ambiguous) == (False, True)


@pytest.mark.parametrize(
    ("data", "complete"),
    [
        (b"", False),
        (b"HTTP/1.1 200", False),
        (OK + b"\r\nhello", True),
        (b"HTTP/1.0 200 OK\r\n\r\n", True),
        (OK + b"content-length: 9\r\n\r\nhello", False),
        (CHUNKED + b"5\r\nhello\r\n", False),
        (HELLO, True),
    ],
)
def test_a_clean_end_completes_what_has_no_length(data: bytes, complete: bool) -> None:
    parser = ReplyParser()
    if data:
        parser.feed(data)
    assert parser.end() is complete
    assert parser.complete is complete
    assert parser.keep_alive is (data == HELLO)


@pytest.mark.parametrize(
    "data",
    [
        b"nonsense\r\n\r\n",
        OK + b"transfer-encoding: gzip\r\n\r\n",
        OK + b"transfer-encoding: gzip, chunked\r\n\r\n",
        OK + b"content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n",
        OK + b"content-length: 5\r\ncontent-length: 5\r\n\r\nhello",
        OK + b"a: b\r\n folded\r\n\r\n",
        OK + b"a : b\r\n\r\n",
        OK.replace(b"\r", b"") + b"\n",
        CHUNKED + b"xyz\r\n",
        b"HTTP/1.1 101 Switch\r\n\r\n",
    ],
)
def test_what_is_no_reply(data: bytes) -> None:
    with pytest.raises(MalformedReply) as caught:
        ReplyParser().feed(data)
    assert caught.value.__cause__ is None


def test_what_came_before_nonsense_stays() -> None:
    parser = ReplyParser()
    with pytest.raises(MalformedReply):
        parser.feed(CHUNKED + b"5\r\nhello\r\nxyz")
    assert (parser.take(), parser.complete) == (b"hello", False)


@pytest.mark.parametrize("size", [1000, 100_000, 1_000_000])
@pytest.mark.parametrize(
    ("before", "part", "after"),
    [
        (OK, b"x-more: of it\r\n", b"\r\n"),
        (OK + b"x-long: ", b"of it ", b"\r\n\r\n"),
        (b"", b"HTTP/1.1 103 Hints\r\n\r\n", HELLO),
        (CHUNKED + b"1;", b"more=of-it;", b"\r\n"),
        (CHUNKED + b"0\r\n", b"x-more: of it\r\n", b"\r\n"),
        (CHUNKED + b"0\r\nx-long: ", b"of it ", b"\r\n\r\n"),
    ],
)
def test_what_is_around_a_body_is_limited(before: bytes, part: bytes, after: bytes, size: int) -> None:
    """However large the pieces are in which it comes."""
    parser = ReplyParser()
    pieces = [
        before or b"HTTP/1.1 100 On\r\n\r\n",
        *[part * (size // len(part))] * (2_000_000 // size),
        after,
    ]
    with pytest.raises(MalformedReply, match="too many bytes"):
        _read(parser, *pieces)


def test_a_head_below_the_limit_is_read() -> None:
    head = OK + b"".join(b"x-%d: of it\r\n" % number for number in range(2000)) + b"content-length: 5\r\n\r\n"
    assert len(head) < http11.OVERHEAD_LIMIT
    assert _read(ReplyParser(), head + b"hello") == (200, b"hello", True)


def test_a_long_stream_is_not_noise() -> None:
    parser = ReplyParser()
    parser.feed(CHUNKED)
    for _ in range(3000):
        parser.feed(b"8;" + b"x" * 40 + b"\r\n")
        parser.feed(b"a chunk!\r\n")
    assert len(parser.take()) == 24_000


def test_one_piece_is_not_copied() -> None:
    parser = ReplyParser()
    parser.feed(HELLO)
    piece = parser.pieces[0]
    assert parser.take() is piece
    assert parser.take() == b""


def test_a_released_parser_is_freed_without_the_collector() -> None:
    parser = ReplyParser()
    parser.feed(HELLO)

    class Marked(dict[bytes, bytes]):
        pass

    marked = parser._headers = Marked()
    gone = weakref.ref(marked)
    gc.disable()
    try:
        parser.release()
        del parser, marked
        assert gone() is None
    finally:
        gc.enable()
