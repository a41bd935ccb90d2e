"""The texts that are counted in chats, legacy completions and embeddings."""

from __future__ import annotations

from typing import Any

import pytest

from llm_gateway.wire.openai_chat.texts import choice_texts, message_texts, prompt_texts, schema_texts


@pytest.mark.parametrize(
    ("messages", "texts", "overhead"),
    [
        ([{"role": "user", "content": "hi"}], ["user", "hi", "", ""], 3 + 3),
        ([{"role": "user", "content": "hi", "name": "Ann"}], ["Ann", "user", "hi", "", ""], 3 + 3 + 1),
        ([{"role": "user"}, {"role": "user"}], ["user", "", "", ""] * 2, 3 + 3 * 2),
        # The provider will reject these.
        ([5, None, "hi"], [], 3),
        ([{"role": 5, "content": {"text": "hi"}}], ["", "", ""], 3 + 3),
        ("hi", [], 3),
        (None, [], 3),
    ],
)
def test_a_messages_texts_and_its_overhead(messages: Any, texts: list[str], overhead: int) -> None:
    assert message_texts(messages) == (texts, overhead)


@pytest.mark.parametrize(
    ("message", "texts"),
    [
        (
            {"content": [{"type": "text", "text": "a"}, {"type": "image_url"}, 5, {"text": "b"}]},
            ["ab", "", ""],
        ),
        ({"reasoning_content": "so", "refusal": "no"}, ["", "so", "no"]),
        ({"reasoning": "so"}, ["", "so", ""]),
        (
            {"tool_calls": [{"function": {"name": "f", "arguments": "{}"}}, {"function": 5}, 5]},
            ["", "", "", "f", "{}"],
        ),
        ({"function_call": {"name": "f"}}, ["", "", "", "f", ""]),
        ({"tool_calls": [{"custom": {"name": "f", "input": "x"}}]}, ["", "", "", "f", "x"]),
        ({"content": [{"type": "refusal", "refusal": "no"}, {"text": 5}]}, ["no", "", ""]),
    ],
)
def test_all_kinds_of_text_in_a_message_are_found(message: dict[str, Any], texts: list[str]) -> None:
    assert message_texts([message])[0] == texts


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("one", (["one"], 0)),
        (["one", "two"], (["one", "two"], 0)),
        ([5, 6, 7], ([], 3)),
        ([[5, 6], [7]], ([], 3)),
        (["one", [5, 6], 7], (["one"], 3)),
        ([], ([], 0)),
        ([None, {}], ([], 0)),
        (None, ([], 0)),
        (5, ([], 0)),
    ],
)
def test_prompts_are_texts_or_token_numbers(prompt: object, expected: tuple[list[str], int]) -> None:
    assert prompt_texts(prompt) == expected


def chunk(index: int, **delta: Any) -> dict[str, Any]:
    return {"choices": [{"index": index, "delta": delta}]}


def test_the_pieces_of_each_choice_are_joined() -> None:
    chunks = [chunk(0, content="He"), chunk(1, content="Oh"), chunk(0, content="llo"), chunk(1, content="!")]
    assert [text for text in choice_texts(chunks, "delta") if text] == ["Hello", "Oh!"]


def test_content_reasoning_and_arguments_are_not_mixed() -> None:
    chunks = [
        chunk(0, reasoning_content="I th"),
        chunk(0, reasoning_content="ink"),
        chunk(0, content="so"),
        chunk(0, tool_calls=[{"function": {"name": "f", "arguments": "{"}}]),
        chunk(0, tool_calls=[{"function": {"arguments": "}"}}]),
    ]
    assert choice_texts(chunks, "delta") == ["so", "I think", "", "f", "{}"]


def test_the_text_of_legacy_completions_is_found() -> None:
    chunks = [{"choices": [{"index": 0, "text": "He"}]}, {"choices": [{"index": 0, "text": "llo"}]}]
    assert choice_texts(chunks, "delta") == ["Hello"]


@pytest.mark.parametrize("reply", [None, 5, [], {}, {"choices": None}, {"choices": [5, {"delta": "hi"}]}])
def test_replies_of_an_unknown_shape_have_no_text(reply: object) -> None:
    assert choice_texts([reply], "delta") == []


def test_a_choices_index_may_be_of_any_type() -> None:
    chunks = [{"choices": [{"index": [0], "text": "a"}, {"index": {}, "text": "b"}, {"text": "c"}]}]
    assert choice_texts(chunks, "delta") == ["a", "b", "c"]


FUNCTION = {"name": "f", "parameters": {"type": "object"}}
AS_TEXT = '{"name":"f","parameters":{"type":"object"}}'


@pytest.mark.parametrize(
    ("tools", "functions", "response_format", "texts"),
    [
        ([{"type": "function", "function": FUNCTION}], None, None, [AS_TEXT]),
        ([{"type": "custom", "custom": FUNCTION}], None, None, [AS_TEXT]),
        # The Responses API's tools have no inner object.
        ([{"type": "web_search"}], None, None, ['{"type":"web_search"}']),
        (None, [FUNCTION], None, [AS_TEXT]),
        (None, None, {"type": "json_schema", "json_schema": FUNCTION}, [AS_TEXT]),
        (None, None, {"type": "json_schema", "schema": {}}, ['{"type":"json_schema","schema":{}}']),
        (None, None, {"type": "json_object"}, []),
        ([5, {"type": 5}], "f", "json", ["5", '{"type":5}']),
        ({}, {}, [], []),
    ],
)
def test_what_the_model_may_call_and_has_to_follow_is_text(
    tools: Any, functions: Any, response_format: Any, texts: list[str]
) -> None:
    assert schema_texts(tools, functions, response_format) == texts
