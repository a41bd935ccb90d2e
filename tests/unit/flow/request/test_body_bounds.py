from __future__ import annotations

import json
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_gateway.core.errors import BadRequest
from llm_gateway.flow.heavy_work import LARGE_BODY
from llm_gateway.flow.request import body_bounds
from llm_gateway.flow.request.body_bounds import check_body_bounds

MANY = 100_000
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=30,
)


def counted(value: object) -> int:
    """Count as the documentation says: names, texts, objects and arrays."""
    if isinstance(value, str):
        return 1
    if isinstance(value, list):
        return 1 + sum(map(counted, value))
    if isinstance(value, dict):
        return 1 + sum(1 + counted(inner) for inner in value.values())
    return 0


@given(JSON, st.booleans())
def test_the_bound_is_exact_whatever_texts_hold(value: object, ascii_only: bool) -> None:
    body = json.dumps(value, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
    padded = body + b" " * LARGE_BODY
    check_body_bounds(padded, counted(value))
    if counted(value):
        with pytest.raises(BadRequest):
            check_body_bounds(padded, counted(value) - 1)


@pytest.mark.parametrize(
    "body",
    [
        b"{" + b",".join(b'"%d":1' % number for number in range(2 * MANY)) + b"}",
        b'{"messages":[' + b",".join([b"{}"] * 2 * MANY) + b"]}",
        b'{"input":[' + b",".join([b'""'] * 2 * MANY) + b"]}",
        b'{"input":' + b"[" * 2 * MANY + b"]" * 2 * MANY + b"}",
        b'{"a" : ' * 2 * MANY,
    ],
    ids=["names", "objects", "texts", "depth", "not even JSON"],
)
def test_too_much_of_anything_is_refused_with_the_bound_named(body: bytes) -> None:
    with pytest.raises(BadRequest, match=f"{MANY} .*MAX_BODY_VALUES") as refused:
        check_body_bounds(body, MANY)
    assert (refused.value.status, refused.value.code) == (400, "request_too_complex")


@pytest.mark.parametrize(
    "body",
    [
        json.dumps({"messages": [{"content": '{"a": [1, "b"]}' * 50_000}]}).encode(),
        json.dumps({"input": [[7] * 300_000]}).encode(),
        b'{"url":"data:image/png;base64,' + b"A" * 4_000_000 + b'"}',
    ],
    ids=["code in a text", "token numbers", "an image"],
)
def test_large_bodies_of_the_usual_kinds_pass(body: bytes) -> None:
    assert len(body) > LARGE_BODY
    check_body_bounds(body, MANY)


@pytest.mark.timeout(20)
def test_a_text_without_an_end_takes_linear_time() -> None:
    # Quadratic time would take hours.
    check_body_bounds(b'{"a":"' + b'\\"' * 4_000_000, MANY)


@given(JSON, st.booleans(), st.integers(2, 9))
def test_the_bound_is_exact_whatever_the_size_of_a_window(
    value: object, ascii_only: bool, window: int
) -> None:
    body = json.dumps(value, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
    padded = body + b" " * 32
    with patch.object(body_bounds, "_WINDOW", window), patch.object(body_bounds, "LARGE_BODY", 0):
        check_body_bounds(padded, counted(value))
        if counted(value):
            with pytest.raises(BadRequest):
                check_body_bounds(padded, counted(value) - 1)


@pytest.mark.parametrize("ending", [b"", b"\\", b'\\"', b"a"])
def test_a_body_that_ends_in_a_text_comes_to_an_end(ending: bytes) -> None:
    check_body_bounds(b'{"' + b"[" * 300_000 + ending, 3)
