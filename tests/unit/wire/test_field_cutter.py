"""Cuts objects into fields, in C and in Python: values, names, what is refused, and what is left to Python."""

from __future__ import annotations

import copy
import gc
import pickle
import sys
from collections.abc import Callable, Iterator

import msgspec
import pytest

from llm_gateway.wire import field_cutter
from llm_gateway.wire.field_cutter import python_cut_fields
from llm_gateway.wire.raw_json import JsonObject
from tests.fakes.compiled_parts import need_compiled, searching

Cut = Callable[[bytes], JsonObject | None]
LONG = b"x" * 1000


@pytest.fixture(params=["python", "compiled", "compiled, narrow"])
def cut(request: pytest.FixtureRequest) -> Iterator[Cut]:
    if request.param == "python":
        yield python_cut_fields
        return
    with searching(wide=request.param == "compiled"):
        yield field_cutter.cut_fields


@pytest.fixture
def compiled_cut() -> Cut:
    need_compiled()
    return field_cutter.cut_fields


def cut_values(cut: Cut, body: bytes) -> list[tuple[str, bytes]]:
    fields = cut(body)
    assert fields is not None
    return [(name, bytes(value)) for name, value in fields.items()]


def test_values_are_the_bytes_without_the_blanks_around_them(cut: Cut) -> None:
    body = b' {"a" :\t1.50 ,"b":[ 1, {} ]\r\n, "":{"c": "\\n" } , "d":null}\n'
    assert cut_values(cut, body) == [
        ("a", b"1.50"),
        ("b", b"[ 1, {} ]"),
        ("", b'{"c": "\\n" }'),
        ("d", b"null"),
    ]


@pytest.mark.parametrize("body", [b"{}", b" { } "])
def test_an_object_may_be_empty(cut: Cut, body: bytes) -> None:
    assert cut(body) == {}


def test_of_equal_names_the_last_value_counts_at_the_first_ones_place(cut: Cut) -> None:
    assert cut_values(cut, b'{"a":1,"b":2,"a":3}') == [("a", b"3"), ("b", b"2")]


VALUES = [
    b"0", b"-0", b"12", b"-1.5", b"1e5", b"1E+05", b"0.0e-0", b"true", b"false", b"null", b'""', b"[]", b"{}",
    b"[[],[ ]]", b'{"a":{"b":[]}}', b'"\\u00e9\\ud83d\\uDE00\\"\\\\\\/\\b\\f\\n\\r\\t"', b'"\x7f"',
    '"\u00e9 \u4e2d \U0001f600"'.encode(),
]  # fmt: skip


@pytest.mark.parametrize("value", VALUES)
@pytest.mark.parametrize("before", [0, 1, 15, 16, 17, 63, 64, 127, 128, 129, 144, 300])
def test_every_kind_of_value_is_cut(cut: Cut, value: bytes, before: int) -> None:
    text = b'"' + b"y" * before + b'"'
    body = b'{"first":%b,"value":%b,"last":[%b,%b]}' % (text, value, value, text)
    assert cut_values(cut, body) == [("first", text), ("value", value), ("last", b"[%b,%b]" % (value, text))]


FAULTS = [
    b"01", b"-", b"+1", b"1.", b".5", b"1e", b"1e+", b"0x1", b"NaN", b"-Infinity", b"tru", b"nulll", b"True", b"",
    b'"\n"', b'"\x00"', b'"\x1f"', b'"', b'"\\"', b'"\\x"', b'"\\u12"', b'"\\u12g4"', b'"\\ud83d"', b'"\\ud83dx"',
    b'"\\ud83d\\n"', b'"\\ud83d\\u0041"', b'"\\ud83d\\ud83d"', b'"\\ude00"', b"'a'", b"[1,]", b"[,1]", b"[1 2]",
    b"[1}", b"[", b"]", b'{"a"}', b'{"a":}', b'{"a":1,}', b"{,}", b'{"a" 1}', b"{1:2}", b'{"a":1]', b"{", b"}",
    b'{"\n":1}', b"1,", b"1 2", b"\x00", b"1\x00", b"//", b'"\xff"', b'"\xed\xa0\x80"', b'"\xc3', b"\xe9",
]  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("before", [0, 20, 100])
def test_what_is_not_json_is_refused(cut: Cut, fault: bytes, before: int) -> None:
    text = b"y" * before
    for body in (b'{"a":"%b","b":%b}', b'{"a":["%b",%b]}', b'{"a":{"%b":%b}}', b'{"%b":%b'):
        assert cut(body % (text, fault)) is None


@pytest.mark.parametrize(
    "body",
    [b"", b" ", b"null", b"[]", b'"a"', b"1", b"{", b"}", b'{"a"', b'{"a":1}}', b'{"a":1} x', b"{}\x00"],
)
def test_what_is_no_object_is_refused(cut: Cut, body: bytes) -> None:
    assert cut(body) is None


def test_nothing_is_read_behind_the_end(cut: Cut) -> None:
    body = b'{"a":["\\u00e9\\ud83d\\ude00",{"b":[true,false,null,-1.5e+3]}],"b":"%b\xc3\xa9"} ' % LONG
    for size in range(len(body) - 1):
        assert cut(body[:size]) is None
    assert cut(body) is not None


@pytest.mark.parametrize(
    "body",
    [
        b'{"\\u0061":1}',
        b'{"\xc3\xa9":1}',
        b'{"a":%b1%b}' % (b"[" * 65, b"]" * 65),
        b'{"a":%b1%b}' % (b'{"b":' * 65, b"}" * 65),
    ],
)
def test_the_compiled_way_leaves_the_unusual_to_python(compiled_cut: Cut, body: bytes) -> None:
    assert compiled_cut(body) is None
    assert python_cut_fields(body) is not None


@pytest.mark.parametrize(("opening", "closing"), [(b"[", b"]"), (b'{"b":', b"}")])
def test_64_levels_are_usual(compiled_cut: Cut, opening: bytes, closing: bytes) -> None:
    body = b'{"a":%b%b,"b":1}' % (opening * 63 + b"[", b"]" + closing * 63)
    assert compiled_cut(body) == python_cut_fields(body)


def test_only_bytes_are_cut(compiled_cut: Cut) -> None:
    for other in (bytearray(b"{}"), memoryview(b"{}"), "{}", None):
        assert compiled_cut(other) is None  # type: ignore[arg-type]


def test_what_is_not_ascii_has_to_be_utf8(cut: Cut) -> None:
    for before in range(150):
        assert cut(b'{"a":"%b\xc3\xa9","b":1}' % (b"y" * before)) is not None
        assert cut(b'{"a":"%b\xc3\x28","b":1}' % (b"y" * before)) is None


def test_values_are_used_as_those_that_were_decoded(cut: Cut) -> None:
    fields = cut(b'{"a":[1,"b"],"c":"%b"}' % LONG)
    assert fields is not None
    value = fields["a"]
    assert type(value) is msgspec.Raw
    assert value == msgspec.Raw(b'[1,"b"]')
    assert value != fields["c"]
    view = memoryview(value)
    assert (bytes(view), view.readonly, view[0], len(value)) == (b'[1,"b"]', True, ord("["), 7)
    assert msgspec.json.decode(value) == [1, "b"]
    assert msgspec.json.encode(fields) == b'{"a":[1,"b"],"c":"%b"}' % LONG
    assert b"".join((b"<", value, b">")) == b'<[1,"b"]>'
    assert (
        pickle.loads(pickle.dumps(value)) == copy.copy(value) == copy.deepcopy(value) == value.copy() == value
    )


def test_a_value_keeps_the_body_alive_and_nothing_else_does(cut: Cut) -> None:
    body = b'{"a":"%b","b":1}' % LONG
    others = sys.getrefcount(body)
    fields = cut(body)
    assert fields is not None
    value = fields.pop("a")
    view = memoryview(value)
    del fields, value
    assert sys.getrefcount(body) > others
    assert bytes(view) == b'"%b"' % LONG
    del view
    assert sys.getrefcount(body) == others
    assert cut(body[:-1]) is None


def test_nothing_is_left_for_the_collector(cut: Cut) -> None:
    fields = cut(b'{"a":"%b","b":[1]}' % LONG)
    assert fields is not None
    assert not gc.is_tracked(fields)
    assert not any(gc.is_tracked(value) for value in fields.values())
