"""Messages become Gemini's `contents` and `systemInstruction`; each body is checked with Google's SDK."""

from __future__ import annotations

from typing import Any

import pytest

from llm_gateway.providers.gemini.encoding import write_body
from tests.fakes.gemini_wire import encode_body, encoding_error, request

PIXEL = "iVBORw0KGgo="
CALLED = {
    "role": "assistant",
    "content": None,
    "tool_calls": [
        {
            "id": "a",
            "type": "function",
            "function": {"name": "get_weather", "arguments": '{"city": "Paris", "exact": 1.0}'},
            "extra_content": {"google": {"thought_signature": "c2ln"}},
        },
        {"id": "b", "type": "function", "function": {"name": "get_time", "arguments": ""}},
    ],
}
RESULTS: list[dict[str, Any]] = [
    {"role": "tool", "tool_call_id": "a", "content": '{"degrees": 21.50}'},
    {"role": "tool", "tool_call_id": "b", "content": [{"type": "text", "text": "noon"}]},
]


def user(*parts: Any) -> list[Any]:
    return [{"role": "user", "content": list(parts)}]


def test_system_messages_move_to_the_system_instruction() -> None:
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": "Hi", "reasoning_content": "A greeting."},
        {"role": "developer", "content": [{"type": "text", "text": "In French."}]},
        {"role": "user", "content": [{"type": "text", "text": "Bye"}]},
    ]
    assert encode_body(messages=messages) == {
        "contents": [
            {"role": "user", "parts": [{"text": "Hello"}]},
            {"role": "model", "parts": [{"text": "A greeting.", "thought": True}, {"text": "Hi"}]},
            {"role": "user", "parts": [{"text": "Bye"}]},
        ],
        "systemInstruction": {"parts": [{"text": "Be brief."}, {"text": "In French."}]},
    }


def test_a_conversation_of_system_messages_alone_is_rejected() -> None:
    assert encoding_error(messages=[{"role": "system", "content": "x"}]).param == "messages"


def test_results_carry_the_id_and_name_of_their_call() -> None:
    messages = [*user({"type": "text", "text": "?"}), CALLED, *RESULTS, {"role": "user", "content": "So?"}]
    assert encode_body(messages=messages)["contents"][1:] == [
        {
            "role": "model",
            "parts": [
                {
                    "functionCall": {
                        "id": "a",
                        "name": "get_weather",
                        "args": {"city": "Paris", "exact": 1.0},
                    },
                    "thoughtSignature": "c2ln",
                },
                {"functionCall": {"id": "b", "name": "get_time", "args": {}}},
            ],
        },
        {
            "role": "user",
            "parts": [
                {
                    "functionResponse": {
                        "id": "a",
                        "name": "get_weather",
                        "response": {"output": {"degrees": 21.5}},
                    }
                },
                {"functionResponse": {"id": "b", "name": "get_time", "response": {"output": "noon"}}},
            ],
        },
        {"role": "user", "parts": [{"text": "So?"}]},
    ]


def test_a_result_may_contain_an_image() -> None:
    picture = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}}
    result = {"role": "tool", "tool_call_id": "a", "content": [{"type": "text", "text": "Here"}, picture]}
    messages = [*user({"type": "text", "text": "?"}), CALLED, result]
    assert encode_body(messages=messages)["contents"][2]["parts"][0]["functionResponse"] == {
        "id": "a",
        "name": "get_weather",
        "response": {"output": "Here"},
        "parts": [{"inlineData": {"mimeType": "image/png", "data": PIXEL}}],
    }


@pytest.mark.parametrize("call_id", ["c", None])
def test_a_result_without_its_call_is_rejected(call_id: str | None) -> None:
    messages = [
        *user({"type": "text", "text": "?"}),
        {"role": "tool", "tool_call_id": call_id, "content": "x"},
    ]
    assert encoding_error(messages=messages).param == "messages[1].tool_call_id"


def test_arguments_that_are_not_an_object_are_rejected() -> None:
    call = {"id": "a", "type": "function", "function": {"name": "f", "arguments": "[1]"}}
    messages = [*user({"type": "text", "text": "?"}), {"role": "assistant", "tool_calls": [call]}]
    assert encoding_error(messages=messages).param == "messages[1].tool_calls[0].function.arguments"


def test_thought_signatures_return_to_the_part_they_came_with() -> None:
    said = {
        "role": "assistant",
        "content": "Hi",
        "extra_content": {"google": {"thought_signature": "c2ln"}},
    }
    silent = {"role": "assistant", "content": "", "extra_content": {"google": {"thought_signature": "eA=="}}}
    messages = [*user({"type": "text", "text": "?"}), said, silent]
    assert [content["parts"] for content in encode_body(messages=messages)["contents"][1:]] == [
        [{"text": "Hi", "thoughtSignature": "c2ln"}, {"text": "", "thoughtSignature": "eA=="}]
    ]


@pytest.mark.parametrize(
    ("model", "signature"),
    [
        ("gemini-2.5-flash", None),
        ("models/gemini-3-flash-preview", "skip_thought_signature_validator"),
        ("gemini-flash-latest", "skip_thought_signature_validator"),
        ("gemma-4", None),
    ],
)
def test_calls_of_another_model_get_the_placeholder_signature(model: str, signature: str | None) -> None:
    calls = [
        {"id": name, "type": "function", "function": {"name": "f", "arguments": "{}"}} for name in ("a", "b")
    ]
    messages = [*user({"type": "text", "text": "?"}), {"role": "assistant", "tool_calls": calls}]
    parts = encode_body(model, messages=messages)["contents"][1]["parts"]
    assert [part.get("thoughtSignature") for part in parts] == [signature, None]


def parts_of(*messages: dict[str, Any]) -> list[Any]:
    """Return the parts of each content that follows a user's message."""
    body = encode_body(messages=[{"role": "user", "content": "?"}, *messages])
    return [content["parts"] for content in body["contents"][1:]]


@pytest.mark.parametrize("google", ["text", {"thought_signature": 5}, {}, None])
def test_extra_content_without_a_readable_signature_is_skipped(google: Any) -> None:
    message = {"role": "assistant", "content": "Hi", "extra_content": {"google": google}}
    assert parts_of(message) == [[{"text": "Hi"}]]


def test_a_message_signature_is_on_the_last_part() -> None:
    message = {
        "role": "assistant",
        "content": "Hi",
        "reasoning_content": "A greeting.",
        "extra_content": {"google": {"thought_signature": "c2ln"}},
    }
    assert parts_of(message) == [
        [{"text": "A greeting.", "thought": True}, {"text": "Hi", "thoughtSignature": "c2ln"}]
    ]


def test_a_refusal_is_sent_as_text() -> None:
    assert parts_of({"role": "assistant", "refusal": "I cannot."}) == [[{"text": "I cannot."}]]


def test_a_message_without_text_is_dropped() -> None:
    assert parts_of({"role": "assistant", "content": ""}, {"role": "user", "content": "So?"}) == [
        [{"text": "So?"}]
    ]


@pytest.mark.parametrize(
    ("text", "output"),
    [("[1, 2]", [1, 2]), ("42", "42"), ('{"a": ', '{"a": '), ("", ""), ("[" * 5000, "[" * 5000)],
)
def test_a_result_that_is_an_object_or_a_list_stays_json(text: str, output: Any) -> None:
    [_, [result]] = parts_of(CALLED, {"role": "tool", "tool_call_id": "a", "content": text})
    assert result["functionResponse"]["response"] == {"output": output}


WAIT = {"role": "user", "content": "Wait."}
SYSTEM = {"role": "system", "content": "Be brief."}


@pytest.mark.parametrize("between", [WAIT, SYSTEM, {"role": "assistant", "content": "One moment."}])
def test_results_follow_their_calls_in_one_content_whatever_is_between(between: dict[str, Any]) -> None:
    first, second = RESULTS
    for messages in ((between, first, second), (first, between, second), (first, second, between)):
        contents = encode_body(messages=[{"role": "user", "content": "?"}, CALLED, *messages])["contents"]
        at = next(i for i, one in enumerate(contents) if any("functionCall" in part for part in one["parts"]))
        assert [list(part) for part in contents[at + 1]["parts"]] == [["functionResponse"]] * 2
        assert contents[at + 1]["role"] == "user"
        said = [part["text"] for one in contents for part in one["parts"] if "text" in part]
        assert said == ["?"] if between is SYSTEM else ["?", between["content"]]


def test_a_call_turn_after_an_assistants_text_is_one_content_with_it() -> None:
    said = {"role": "assistant", "content": "Let me look."}
    contents = encode_body(messages=[WAIT, said, said, CALLED, *RESULTS])["contents"]
    assert [content["role"] for content in contents] == ["user", "model", "user"]
    assert [next(iter(part)) for part in contents[1]["parts"]] == ["text", "text", *["functionCall"] * 2]
    again = encode_body(messages=[WAIT, CALLED, *RESULTS, said, CALLED, *RESULTS])["contents"]
    assert [content["role"] for content in again] == ["user", "model", "user", "model", "user"]


def test_calls_without_results_leave_no_empty_content() -> None:
    assert [content["role"] for content in encode_body(messages=[WAIT, CALLED])["contents"]] == [
        "user",
        "model",
    ]
    contents = encode_body(messages=[WAIT, {"role": "assistant", "content": ""}, WAIT])["contents"]
    assert [content["role"] for content in contents] == ["user", "user"]


def test_names_and_reasoning_details_are_reported_as_ignored() -> None:
    messages = [
        {"role": "user", "name": "ann", "content": "?"},
        {"role": "assistant", "content": "Hi", "reasoning_details": [{"type": "x"}]},
    ]
    _, ignored_fields = write_body(request(messages=messages), "gemini-2.5-flash")
    assert ignored_fields == ("messages[0].name", "messages[1].reasoning_details")


def test_cache_control_on_messages_and_calls_is_reported() -> None:
    control = {"type": "ephemeral"}
    call = {
        "id": "c",
        "type": "function",
        "function": {"name": "f", "arguments": "{}"},
        "cache_control": control,
    }
    asked = request(
        messages=[
            {"role": "user", "content": "q", "cache_control": control},
            {"role": "assistant", "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "c", "content": "r", "cache_control": control},
        ]
    )
    assert write_body(asked, "gemini-2.5-flash")[1] == (
        "messages[0].cache_control", "messages[1].tool_calls[0].cache_control", "messages[2].cache_control",
    )  # fmt: skip
