"""The sizes of fields are added up alike in both ways."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_gateway.wire import field_sizes
from llm_gateway.wire.field_sizes import python_weighed
from tests.fakes.compiled_parts import WAYS, Way, need_compiled

KINDS = {"a": True, "b": True, "c": False}


def weighed(way: Way, *values: Any) -> int:
    if way == "python":
        return python_weighed(*values)
    need_compiled()
    return field_sizes.weighed(*values)


def raw(sizes: dict[str, int]) -> dict[str, msgspec.Raw]:
    return {name: msgspec.Raw(b"x" * size) for name, size in sizes.items()}


@pytest.mark.parametrize("way", WAYS)
def test_quarters_are_rounded_up_field_by_field(way: Way) -> None:
    for size, quarters in ((0, 0), (1, 1), (4, 1), (5, 2), (4096, 1024)):
        assert weighed(way, raw({"a": size, "other": 900}), KINDS, 4096, 7, 5) == 5 + 7 * quarters
    assert weighed(way, raw({"a": 1, "b": 1}), KINDS, 4096, 7, 5) == 5 + 7 * 2
    assert weighed(way, {}, KINDS, 4096, 7, 5) == 5
    assert weighed(way, raw({"a": 8}), KINDS, 4096, 2**50, 2**59) == 2**59 + 2**51


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("sizes", [{"a": 4097}, {"a": 1, "c": 0}, {"c": 1, "a": 4097}])
def test_where_sizes_are_not_enough_to_know_nothing_is_said(way: Way, sizes: dict[str, int]) -> None:
    assert weighed(way, raw(sizes), KINDS, 4096, 7, 5) == -1


@given(
    st.dictionaries(st.sampled_from(["a", "b", "c", "d", "ä", ""]), st.integers(0, 20)),
    st.dictionaries(st.sampled_from(["a", "b", "c", "ä"]), st.booleans()),
    st.integers(0, 20),
    st.integers(0, 2**28),
    st.integers(0, 2**60),
)
def test_both_ways_say_the_same(
    sizes: dict[str, int], kinds: dict[str, bool], most: int, factor: int, base: int
) -> None:
    values = (raw(sizes), kinds, most, factor, base)
    assert weighed("compiled", *values) == weighed("python", *values)


def test_what_is_wrong_is_an_error() -> None:
    need_compiled()
    compiled: Any = field_sizes.weighed
    wrong: Any = ((), ([], {}, 1, 1, 1), ({}, [], 1, 1, 1), ({}, {}, "1", 1, 1), ({"a": 1}, KINDS, 1, 1, 1))
    for values in wrong:
        with pytest.raises(TypeError):
            compiled(*values)
    too_large: Any = (
        ({}, {}, 1, 2**63, 1),
        (raw({"a": 9}), KINDS, 9, 2**62, 1),
        (raw({"a": 4}), KINDS, 9, 1, 2**63 - 1),
    )
    for values in too_large:
        with pytest.raises(OverflowError):
            compiled(*values)
