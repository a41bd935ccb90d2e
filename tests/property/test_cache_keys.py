"""However a request is written down it has the same key, and whatever is changed in it gives another."""

from __future__ import annotations

import json
from typing import Any

import msgspec
from hypothesis import assume, given
from hypothesis import strategies as st

from llm_gateway.core.config.catalog import Catalog
from llm_gateway.core.config.snapshot import build_snapshot
from llm_gateway.core.model_request import ModelRequest
from llm_gateway.flow.reply_cache.keys import make_key
from llm_gateway.providers.registry import KINDS
from tests.fakes.in_memory import provider

_ROUTE = build_snapshot(Catalog(version=1, providers=(provider("a"),)), KINDS).route("m")
# Fields that do not count are told apart elsewhere.
_NAMES = st.text(min_size=1, max_size=6).map(lambda name: f"f{name}")
_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
_PLAIN = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | _TEXT
_VALUES = st.recursive(
    _PLAIN,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_TEXT, inner, max_size=4),
    max_leaves=12,
)
_BODIES = st.dictionaries(_NAMES.filter(lambda name: name.isprintable()), _VALUES, min_size=1, max_size=5)


def key(body: str) -> bytes:
    assert _ROUTE is not None
    fields = msgspec.json.decode(body.encode(), type=dict[str, msgspec.Raw])
    request = ModelRequest(
        endpoint="chat/completions", model="m", stream=False, wants_usage=False, fields=fields
    )
    made = make_key(request, _ROUTE, credential_id=1, headers={}, namespace=b"")
    assert made is not None
    return made


def rewritten(value: Any, draw: st.DataObject) -> str:
    """Write a value as JSON in some way of many: order, spaces, escapes, forms of numbers."""
    space = draw.draw(st.sampled_from(["", " ", "\n\t ", "  "]))
    if isinstance(value, dict):
        items = draw.draw(st.permutations(list(value.items())))
        inner = f"{space},{space}".join(
            f"{rewritten(name, draw)}{space}:{space}{rewritten(one, draw)}" for name, one in items
        )
        return f"{{{space}{inner}{space}}}"
    if isinstance(value, list):
        return f"[{space}" + f",{space}".join(rewritten(one, draw) for one in value) + f"{space}]"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=draw.draw(st.booleans()))
    if type(value) is int and abs(value) < 2**53:
        return draw.draw(st.sampled_from([f"{value}", f"{value}.0", f"{value}e0", f"{value}.00E+0"]))
    if isinstance(value, float) and draw.draw(st.booleans()):
        return f"{value:.17e}"
    return json.dumps(value)


def same(one: Any, other: Any) -> bool:
    """Tell whether two values mean the same in JSON: a number is one however it is written, and no boolean."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[name], other[name]) for name in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    return bool(one == other)


@given(_BODIES, st.data())
def test_any_way_to_write_a_request_gives_the_same_key(body: dict[str, Any], draw: st.DataObject) -> None:
    assert key(rewritten(body, draw)) == key(json.dumps(body))


@given(_BODIES, _VALUES, st.data())
def test_any_changed_value_gives_another_key(body: dict[str, Any], value: Any, draw: st.DataObject) -> None:
    name = draw.draw(st.sampled_from(sorted(body)))
    assume(not same(body[name], value))
    assert key(json.dumps(body | {name: value})) != key(json.dumps(body))


@given(_BODIES, st.data())
def test_a_field_more_or_less_gives_another_key(body: dict[str, Any], draw: st.DataObject) -> None:
    name = draw.draw(st.sampled_from(sorted(body)))
    less = {other: value for other, value in body.items() if other != name}
    assert key(json.dumps(less)) != key(json.dumps(body))
