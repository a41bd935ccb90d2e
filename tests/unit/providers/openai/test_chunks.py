"""Chunks that OpenAI's shape does not fit: what of them is read."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from llm_gateway.providers.openai.chunks import chunk_from, decode_chunk, has_content
from llm_gateway.wire.openai_chat.usage import WireUsage


def test_a_usual_chunk_is_the_same_read_either_way() -> None:
    choice = {"index": 1, "delta": {"role": "assistant", "content": "a"}, "finish_reason": "stop"}
    value = {"choices": [choice], "usage": {"prompt_tokens": 1, "completion_tokens": 2}}
    strictly, loosely = decode_chunk(msgspec.json.encode(value)), chunk_from(value)
    assert strictly.usage == loosely.usage
    assert strictly.choices is not None
    assert loosely.choices is not None
    for one, other in zip(strictly.choices, loosely.choices, strict=True):
        assert (one.index, one.finish_reason, has_content(one)) == (
            other.index,
            other.finish_reason,
            has_content(other),
        )


@pytest.mark.parametrize("value", [None, 5, "text", [], [1]])
def test_what_is_no_object_has_no_choices(value: Any) -> None:
    assert chunk_from(value).choices == []


@pytest.mark.parametrize("choices", [None, {}, "none", 5])
def test_an_object_without_a_list_of_choices_is_no_chunk(choices: Any) -> None:
    assert chunk_from({"choices": choices}).choices is None


@pytest.mark.parametrize("value", ["text", "half \ud83d"])
def test_a_text_in_place_of_a_usage_is_an_empty_usage(value: str) -> None:
    chunk = chunk_from({"choices": [], "usage": value, "x_groq": value})
    assert chunk.usage == WireUsage()
    assert chunk.x_groq is None


@pytest.mark.parametrize("empty", [None, "", [], {}, False])
def test_empty_fields_of_a_delta_are_no_content(empty: Any) -> None:
    value = {"choices": [{"delta": {"role": "assistant", "content": empty, "tool_calls": empty}}]}
    (choice,) = chunk_from(value).choices or []
    assert not has_content(choice)
    spaced = msgspec.json.encode(value).replace(b"[]", b"[ ]").replace(b"{}", b"{ }")
    (choice,) = decode_chunk(spaced).choices or []
    assert not has_content(choice)
