"""Heads of responses: framing headers are told from others, and no value injects a line."""

from __future__ import annotations

from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_gateway.server.http1 import response_head
from llm_gateway.server.http1.response_head import (
    chunked_head,
    joined,
    read_headers,
    unframed_head,
    whole_response,
)
from tests.fakes.compiled_parts import need_compiled

PLAIN = ((b"Content-Type", b"application/json"), (b"x-percent", b"100%"))


def test_names_are_in_lower_case_and_values_as_given() -> None:
    expected = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nx-percent: 100%\r\n"
    # The second time from the stored template.
    assert [unframed_head(200, PLAIN) for _ in range(2)] == [expected] * 2
    assert joined(read_headers(200, PLAIN)[0]) == expected
    assert [chunked_head(PLAIN) for _ in range(2)] == [expected + b"transfer-encoding: chunked\r\n\r\n"] * 2


def test_without_headers_there_is_no_head() -> None:
    assert unframed_head(200, ()) is None
    assert chunked_head(()) is None


@pytest.mark.parametrize(
    ("header", "length", "closes", "is_sent"),
    [
        ((b"Content-Length", b"12"), 12, False, True),
        ((b"Connection", b"Close"), None, True, True),
        ((b"Transfer-Encoding", b"chunked"), None, False, False),
    ],
)
def test_a_framing_header_is_read(
    header: tuple[bytes, bytes], length: int | None, closes: bool, is_sent: bool
) -> None:
    headers = (*PLAIN, header)
    assert unframed_head(200, headers) is None
    assert chunked_head(headers) is None
    lines, *rest = read_headers(200, headers)
    assert rest == [length, closes]
    assert any(line.startswith(header[0].lower()) for line in lines) is is_sent


@pytest.mark.parametrize("header", [(b"x", b"a\r\nb: c"), (b"x", b"a\nb"), (b"x\r\ny", b"a"), (b"x", b"a\0")])
def test_a_header_cannot_inject_another(header: tuple[bytes, bytes]) -> None:
    with pytest.raises(RuntimeError, match="A response header"):
        unframed_head(200, (header,))
    with pytest.raises(RuntimeError, match="A response header"):
        chunked_head((header,))
    with pytest.raises(RuntimeError, match="A response header"):
        joined(read_headers(200, (header,))[0])


NAMES = st.sampled_from(
    [b"Content-Type", b"content-type", b"x-request-id", b"content-length", b"Connection", b"x\r", b""]
)
VALUES = st.one_of(
    st.sampled_from([b"a", b"", b"a\r\nb: c", b"a\n", b"a\0", b"100%"]), st.binary(max_size=20)
)


@given(
    st.sampled_from([200, 404]),
    st.lists(st.tuples(NAMES, VALUES), max_size=5),
    st.binary(max_size=30),
    st.booleans(),
)
def test_both_ways_join_the_same(
    status: int, headers: list[tuple[bytes, bytes]], body: bytes, as_tuple: bool
) -> None:
    need_compiled()
    given_headers = tuple(headers) if as_tuple else headers

    def joined_in_any_way() -> list[object]:
        try:
            return [
                unframed_head(status, given_headers),
                whole_response(status, given_headers, body),
            ]
        except RuntimeError as error:
            return [str(error)]

    with patch.object(response_head, "join_head", None):
        expected = joined_in_any_way()
    # The first time the names may be unknown.
    assert [joined_in_any_way() for _ in range(2)] == [expected] * 2
