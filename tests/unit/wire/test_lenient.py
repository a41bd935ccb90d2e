"""One wrong field hides nothing else, and broken characters are replaced."""

from __future__ import annotations

import time
from typing import Any

import msgspec
import pytest

from llm_gateway.wire.lenient import lenient_decoder


class _Inner(msgspec.Struct):
    number: int
    text: str = ""


class _Outer(msgspec.Struct, rename="camel"):
    name: str = "none"
    some_number: int | None = None
    inner: _Inner | None = None
    items: list[_Inner] | None = None
    raw: msgspec.Raw = msgspec.Raw(b"{}")


decode = lenient_decoder(_Outer)


@pytest.mark.parametrize(
    ("body", "wanted"),
    [
        (b'{"name": "a", "someNumber": 7}', _Outer("a", 7)),
        (b'{"name": null, "someNumber": 7}', _Outer(some_number=7)),
        (b'{"name": "a", "someNumber": "7"}', _Outer("a")),
        (b'{"name": "a", "someNumber": 1.5, "new": []}', _Outer("a")),
        (b'{"name": "a", "inner": []}', _Outer("a")),
        (b'{"name": 1, "inner": {"number": 1, "text": 2}}', _Outer(inner=_Inner(1))),
        (b'{"name": "a", "inner": {"text": "x"}}', _Outer("a")),
        (b'{"items": [{"number": 1}, {"number": null}, 7, null, {"number": 2, "text": []}]}',
         _Outer(items=[_Inner(1), _Inner(2)])),
        (b'{"items": {}, "name": "a"}', _Outer("a")),
        (b'{"name": 7, "raw": {"a": 1e400}}', _Outer(raw=msgspec.Raw(b'{"a": 1e400}'))),
        (rb'{"name": "\ud83d|\ude00|\ud83d\ude00|\\ud83d|\n"}', _Outer("\ufffd|\ufffd|\U0001f600|\\ud83d|\n")),
        (b'{"name": "a\xff"}', _Outer("a\ufffd")),
        (b'\xef\xbb\xbf{"name": "a"}', _Outer("a")),
        (b'{"name": "\xed\xa0\xbd"}', _Outer("\ufffd\ufffd\ufffd")),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_left_at_its_default(body: bytes, wanted: Any) -> None:
    assert decode(body) == wanted


@pytest.mark.parametrize("body", [b"", b"7", b"[]", b"null", b'{"name": ', b"\xff\xfe", b"[" * 50_000])
def test_what_is_not_an_object_is_unreadable(body: bytes) -> None:
    with pytest.raises((msgspec.DecodeError, UnicodeDecodeError, RecursionError)):
        decode(body)


def test_a_missing_field_without_a_default_is_an_error() -> None:
    with pytest.raises(msgspec.ValidationError):
        lenient_decoder(_Inner)(b'{"text": "x"}')


@pytest.mark.parametrize(
    "body",
    [
        b'{"name": "' + rb"\ud83d" * 500_000 + b'"}',
        b'{"name": "' + b"\xff" * 3_000_000 + b'"}',
        b'{"name": 7, "items": [' + b"7," * 500_000 + b"7]}",
    ],
    ids=["surrogates", "bytes", "items"],
)
def test_a_large_body_takes_linear_time(body: bytes) -> None:
    begun = time.process_time()
    decode(body)
    assert time.process_time() - begun < 3
