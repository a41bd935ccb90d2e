"""The compiled way to cut objects takes no body that msgspec refuses, and makes the same of those that it takes."""

from __future__ import annotations

import re
from itertools import accumulate

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_gateway.wire.field_cutter import cut_fields, python_cut_fields
from tests.fakes.compiled_parts import need_compiled, searching

_DEEPEST = 64
_STRING = re.compile(rb'"(?:[^"\\]|\\.)*"')

BLANKS = st.sampled_from([b"", b"", b"", b" ", b"\n", b"\r\n\t  "])
NUMBERS = st.one_of(
    st.integers().map(lambda number: b"%d" % number),
    st.floats(allow_nan=False, allow_infinity=False).map(lambda number: repr(number).encode()),
    st.from_regex(rb"\A-?(0|[1-9][0-9]{0,30})(\.[0-9]{1,20})?([eE][+-]?[0-9]{1,4})?\Z"),
)
WORDS = st.sampled_from([b"true", b"false", b"null"])
PIECES = st.one_of(
    # Around the sizes of blocks.
    st.integers(0, 150).map(lambda size: b"x" * size),
    st.text(st.characters(blacklist_characters='"\\', blacklist_categories=["Cs", "Cc"]), max_size=20).map(
        str.encode
    ),
    st.sampled_from(
        [rb"\"", rb"\\", rb"\/", rb"\b", rb"\f", rb"\n", rb"\r", rb"\t", rb"\ud83d\ude00", b"\x7f"]
    ),
    st.integers(0, 0xFFFF).map(lambda unit: b"\\u%04x" % unit),
)
TEXTS = st.lists(PIECES, max_size=6).map(lambda pieces: b'"' + b"".join(pieces) + b'"')
NAMES = st.one_of(st.sampled_from([b'"model"', b'"messages"', b'""']), TEXTS)


@st.composite
def objects(draw: st.DrawFn, values: st.SearchStrategy[bytes]) -> bytes:
    fields = draw(st.lists(st.tuples(BLANKS, NAMES, BLANKS, BLANKS, values, BLANKS), max_size=5))
    written = [b"%b%b%b:%b%b%b" % field for field in fields]
    return b"{" + (b",".join(written) or draw(BLANKS)) + b"}"


@st.composite
def arrays(draw: st.DrawFn, values: st.SearchStrategy[bytes]) -> bytes:
    items = draw(st.lists(st.tuples(BLANKS, values, BLANKS), max_size=5))
    return b"[" + (b",".join(b"".join(item) for item in items) or draw(BLANKS)) + b"]"


VALUES = st.recursive(
    st.one_of(NUMBERS, WORDS, TEXTS),
    lambda values: st.one_of(arrays(values), objects(values)),
    max_leaves=20,
)
BODIES = st.tuples(BLANKS, objects(VALUES), BLANKS).map(b"".join)
ODD = st.one_of(
    st.binary(min_size=1, max_size=3),
    st.sampled_from([
        b'"', b"\\", b"\\u", b"{", b"}", b"[", b"]", b",", b":", b"-", b".", b"e", b"0", b"\x00", b"\x1f", b"\x20",
        b"\x21", b"\x22", b"\x80", b"\xff", b"\xc3\xa9", b"\\ud83d", b"\\ude00", b"tru", b"\n", b"\xef\xbb\xbf",
    ]),
)  # fmt: skip


@pytest.fixture(autouse=True)
def _compiled() -> None:
    need_compiled()


def depth_of(body: bytes) -> int:
    """Return how deeply the values of a valid object are nested."""
    brackets = _STRING.sub(b"", body)
    levels = accumulate((byte in b"{[") - (byte in b"}]") for byte in brackets)
    return max(levels) - 1


def check(body: bytes) -> None:
    cut, decoded = cut_fields(body), python_cut_fields(body)
    with searching(wide=False):
        assert cut_fields(body) == cut
    if cut is None:
        # Only what is unusual is left to msgspec: names with an escape or of another alphabet, deep nesting.
        if decoded is not None and b"\\" not in body and all(map(str.isascii, decoded)):
            assert depth_of(body) > _DEEPEST
        return
    assert decoded is not None
    assert list(cut.items()) == list(decoded.items())


@given(BODIES)
def test_valid_bodies_are_cut_alike(body: bytes) -> None:
    check(body)


@given(BODIES, st.lists(st.tuples(st.integers(0, 2**16), st.integers(0, 3), ODD), min_size=1, max_size=3))
@settings(max_examples=250)
def test_what_was_changed_is_cut_alike_or_not(body: bytes, changes: list[tuple[int, int, bytes]]) -> None:
    for place, lost, put in changes:
        at = place % (len(body) + 1)
        body = body[:at] + put + body[at + lost :]
    check(body)


@given(BODIES)
@settings(max_examples=50)
def test_no_beginning_of_a_body_is_cut(body: bytes) -> None:
    whole = body.rstrip()
    for size in range(len(whole)):
        assert cut_fields(body[:size]) is None


@given(st.binary(max_size=100), st.booleans())
def test_any_bytes_are_cut_alike_or_not(data: bytes, in_object: bool) -> None:
    check(b'{"a":%b}' % data if in_object else data)


ENCODED = st.one_of(
    st.text(max_size=10).map(lambda text: text.encode("utf-8", "surrogatepass")),
    # Around the limits of first and of second bytes.
    st.tuples(
        st.sampled_from(b"\x7f\x80\xbf\xc1\xc2\xdf\xe0\xe1\xec\xed\xee\xef\xf0\xf1\xf3\xf4\xf5\xff"),
        st.sampled_from(b"\x7f\x80\x8f\x90\x9f\xa0\xbf\xc0"),
        st.sampled_from(b"a\x7f\x80\xbf\xc0"),
        st.sampled_from(b"a\x7f\x80\xbf\xc0"),
    ).map(bytes),
    st.integers(0, 20).map(lambda size: b"x" * size),
)


@given(st.lists(ENCODED, max_size=4), st.integers(0, 2))
def test_the_same_texts_are_utf8(pieces: list[bytes], cut: int) -> None:
    text = b"".join(pieces)
    check(b'{"a":"%b"}' % text[: max(len(text) - cut, 0)].replace(b'"', b"").replace(b"\\", b""))


@given(st.integers(60, 70), st.lists(st.booleans(), min_size=70, max_size=70), st.integers(-1, 1))
def test_deep_nesting_is_cut_alike_or_not(depth: int, kinds: list[bool], extra: int) -> None:
    opening = b"".join(b'{"a":' if is_object else b"[" for is_object in kinds[:depth])
    closing = b"".join(b"}" if is_object else b"]" for is_object in reversed(kinds[: depth + extra]))
    check(b'{"a":%b1%b}' % (opening, closing))
