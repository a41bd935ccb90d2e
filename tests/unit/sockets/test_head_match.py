"""Both ways to match a known head agree on any bytes."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from llm_gateway.sockets.head_match import match_head, python_match_head
from tests.fakes.compiled_parts import need_compiled

BEFORE = b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: "
AFTER = b"\r\nuser-agent: b\r\n\r\n"

LENGTHS = st.one_of(
    st.integers(0, 30).map(lambda size: b"%d" % size),
    st.sampled_from(
        [
            b"",
            b"00",
            b"03",
            b"+3",
            b" 3",
            b"3 ",
            b"-1",
            b"3a",
            b"\xb3",
            b"9999999999",
            b"99999999999",
            b"3" * 40,
        ]
    ),
    st.binary(max_size=12),
)


@pytest.fixture(autouse=True)
def _compiled() -> None:
    need_compiled()


@given(
    LENGTHS,
    st.binary(max_size=30),
    st.integers(0, 90),
    st.sampled_from([b"", b"\r", b"x", b"0"]),
    st.booleans(),
)
@example(length=b"3", body=b"abc", place=99, byte=b"", keeps=True)
@example(length=b"0", body=b"", place=99, byte=b"", keeps=True)
def test_both_ways_return_the_same(length: bytes, body: bytes, place: int, byte: bytes, keeps: bool) -> None:
    data = BEFORE + length + AFTER + body
    if place < len(data):
        # One byte of the request is another, one is missing, or there is one more.
        data = data[:place] + byte + data[place + (not keeps) :]
    assert match_head(BEFORE, AFTER, data) == python_match_head(BEFORE, AFTER, data)
    for size in range(len(data)):
        assert match_head(BEFORE, AFTER, data[:size]) == python_match_head(BEFORE, AFTER, data[:size])


def test_a_whole_request_is_matched() -> None:
    for body in (b"", b"a", b"b" * 100_000):
        assert match_head(BEFORE, AFTER, BEFORE + b"%d" % len(body) + AFTER + body) == body


@pytest.mark.parametrize(
    "wrong", [(), (BEFORE, AFTER), (BEFORE, AFTER, b"", b""), ("text", AFTER, b""), (BEFORE, None, b"")]
)
def test_other_arguments_are_an_error(wrong: tuple[object, ...]) -> None:
    with pytest.raises(TypeError):
        match_head(*wrong)  # type: ignore[arg-type]
