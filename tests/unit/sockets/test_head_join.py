"""Usual heads are joined by what is compiled, and all others are left to Python.

`tests/unit/server/http1/test_response_head.py` compares both ways.
"""

from __future__ import annotations

from typing import Any

import pytest

from llm_gateway.sockets import head_join
from tests.fakes.compiled_parts import need_compiled


def test_usual_heads_are_joined_by_what_is_compiled() -> None:
    need_compiled()
    join = head_join.join_head
    assert join is not None
    names = {b"A": b"a", b"b": b"b"}
    start = b"HTTP/1.1 200 OK\r\n"
    assert join(start, ((b"A", b"1"), (b"b", b"")), names, None) == start + b"a: 1\r\nb: \r\n"
    for size in (0, 9, 10, 12345):
        body = b"x" * size
        assert join(start, [(b"A", b"1")], names, body) == b"%ba: 1\r\ncontent-length: %d\r\n\r\n%b" % (
            start,
            size,
            body,
        )


@pytest.mark.parametrize(
    "headers",
    [
        (),
        [],
        ((b"c", b"1"),),
        ((b"A", b"1", b"2"),),
        ([b"A", b"1"],),
        ((b"A", "text"),),
        (("A", b"1"),),
        ((b"A", bytearray(b"1")),),
        ((b"A", b"1"),) * 65,
        iter(()),
        None,
    ],
)
def test_unusual_headers_are_left_to_python(headers: Any) -> None:
    need_compiled()
    join = head_join.join_head
    assert join is not None
    assert join(b"HTTP/1.1 200 OK\r\n", headers, {b"A": b"a"}, b"") is None


@pytest.mark.parametrize("wrong", [(), (b"", (), {}), ("", (), {}, b""), (b"", (), [], b"")])
def test_other_arguments_are_an_error(wrong: tuple[object, ...]) -> None:
    need_compiled()
    join = head_join.join_head
    assert join is not None
    with pytest.raises(TypeError):
        join(*wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("body", [bytearray(b"a"), memoryview(b"a"), "a"])
def test_a_body_of_another_type_is_left_to_python(body: Any) -> None:
    need_compiled()
    join = head_join.join_head
    assert join is not None
    assert join(b"HTTP/1.1 200 OK\r\n", ((b"A", b"1"),), {b"A": b"a"}, body) is None
