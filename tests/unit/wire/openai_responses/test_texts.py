"""The texts that are counted in the Responses API's input, replies and events."""

from __future__ import annotations

from typing import Any

import pytest

from llm_gateway.wire.openai_responses.texts import event_texts, input_texts, response_texts

MESSAGE = {"type": "message", "content": [{"type": "output_text", "text": "Hi"}]}
CALL = {"type": "function_call", "name": "f", "arguments": "{}"}


@pytest.mark.parametrize(
    ("instructions", "asked", "texts", "overhead"),
    [
        (None, "hi", ["user", "hi"], 3 + 3),
        ("be kind", "hi", ["system", "be kind", "user", "hi"], 3 + 3 * 2),
        ("be kind", None, ["system", "be kind"], 3 + 3),
        (None, [{"role": "user", "content": "a"}, CALL], ["user", "a", "f", "{}"], 3 + 3 * 2),
        ([{"role": "system", "content": "be kind"}], "hi", ["system", "be kind", "user", "hi"], 3 + 3 * 2),
        # The provider will reject these.
        (5, 5, [], 3),
        (None, [5, None], [], 3),
        (None, [{"role": 5}], [], 3 + 3),
    ],
)
def test_the_texts_of_a_request_and_its_overhead(
    instructions: object, asked: object, texts: list[str], overhead: int
) -> None:
    assert input_texts(instructions, asked) == (texts, overhead)


@pytest.mark.parametrize(
    ("item", "texts"),
    [
        (MESSAGE, ["Hi"]),
        ({"content": [{"refusal": "No."}, {"type": "input_image"}, {"text": 5}]}, ["No."]),
        (CALL, ["f", "{}"]),
        ({"type": "custom_tool_call", "name": "f", "input": "x"}, ["f", "x"]),
        ({"type": "function_call_output", "output": "three"}, ["three"]),
        ({"type": "function_call_output", "output": [{"text": "three"}]}, ["three"]),
        ({"type": "reasoning", "summary": [{"text": "so"}], "content": [{"text": "long"}]}, ["long", "so"]),
        ({"arguments": {"a": 1}, "content": 5}, []),
        ({"type": "code_interpreter_call", "code": "1 + 1"}, ["1 + 1"]),
        ({"type": "shell_call", "action": {"commands": ["ls"]}}, ['{"commands":["ls"]}']),
        ({"type": "mcp_list_tools", "tools": [{"name": "f"}]}, ['[{"name":"f"}]']),
    ],
)
def test_all_kinds_of_text_in_an_item_are_found(item: dict[str, Any], texts: list[str]) -> None:
    assert response_texts({"output": [item]}) == texts


@pytest.mark.parametrize("response", [None, 5, [], {}, {"output": None}, {"output": ["x"]}])
def test_responses_of_an_unknown_shape_have_no_text(response: object) -> None:
    assert response_texts(response) == []


def delta(text: object, *, kind: str = "response.output_text.delta", **place: int) -> dict[str, Any]:
    return {"type": kind, "delta": text, **place}


def test_the_pieces_of_a_cut_stream_are_joined_by_their_place() -> None:
    reasoning = "response.reasoning_summary_text.delta"
    events = [
        delta("I th", kind=reasoning, output_index=0, summary_index=0),
        delta("ink", kind=reasoning, output_index=0, summary_index=0),
        delta("A", output_index=1, content_index=0),
        delta("X", output_index=1, content_index=1),
        delta("B", output_index=1, content_index=0),
    ]
    assert event_texts(events) == ["I think", "AB", "X"]


def test_a_calls_name_and_arguments_are_counted() -> None:
    arguments = "response.function_call_arguments.delta"
    events = [
        {"type": "response.output_item.added", "output_index": 0, "item": {**CALL, "arguments": ""}},
        delta("{", kind=arguments, output_index=0),
        delta("}", kind=arguments, output_index=0),
    ]
    assert event_texts(events) == ["f", "{}"]


@pytest.mark.parametrize("last", ["response.completed", "response.incomplete", "response.failed"])
def test_the_last_events_response_replaces_the_pieces(last: str) -> None:
    assert event_texts([delta("H"), {"type": last, "response": {"output": [MESSAGE]}}]) == ["Hi"]


def test_a_last_event_without_output_leaves_the_pieces() -> None:
    events = [delta("H"), {"type": "response.failed", "response": {"output": []}}, delta("i")]
    assert event_texts(events) == ["Hi"]


def test_audio_and_events_of_an_unknown_shape_are_not_counted() -> None:
    events = [
        delta("UklGRg==", kind="response.audio.delta"),
        delta("said", kind="response.audio.transcript.delta"),
        delta({"x": 1}),
        {"type": "response.output_item.added", "item": "none"},
        {"type": ["response.completed"]},
        5,
        None,
    ]
    assert event_texts(events) == ["said"]
