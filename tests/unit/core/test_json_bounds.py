"""How many values a JSON text can hold at most."""

from __future__ import annotations

import msgspec
import pytest

from llm_gateway.core.json_bounds import count_values


def values_in(value: object) -> int:
    if isinstance(value, dict):
        return 1 + sum(map(values_in, value.values()))
    return 1 + sum(map(values_in, value)) if isinstance(value, list) else 1


@pytest.mark.parametrize(
    "text", ["{}", "[]", "[1,2,3]", '{"a":{"b":[1,"c"]},"d":null}', "[[[[]]]]", '{"a":[{},{},{}],"b":"x,y"}']
)
def test_it_bounds_the_values_below_the_outermost(text: str) -> None:
    assert count_values(text.encode()) >= values_in(msgspec.json.decode(text)) - 1


def test_parts_add_up_to_the_whole() -> None:
    body = b'{"a":[1,2,3],"b":{}}'
    assert count_values(body, 0, 7) + count_values(body, 7, 100) == count_values(body) == 6
