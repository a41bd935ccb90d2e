"""How OpenAI's messages become a system prompt and turns."""

from __future__ import annotations

from typing import Any

import pytest

from llm_gateway.providers.anthropic.messages import called_without_thinking, encode_messages
from llm_gateway.wire.openai_chat.conversation import Message
from tests.fakes.anthropic_requests import USER, blocks, encoded, refused, sent


def test_all_system_messages_become_the_system_prompt() -> None:
    told = sent(
        messages=[
            {"role": "system", "content": "One."},
            USER,
            {"role": "assistant", "content": "Hello"},
            {"role": "developer", "content": [{"type": "text", "text": "Two."}]},
            {"role": "user", "content": "And?"},
        ]
    )
    assert told["system"] == [{"type": "text", "text": "One."}, {"type": "text", "text": "Two."}]
    assert [turn["role"] for turn in told["messages"]] == ["user", "assistant", "user"]


def test_adjacent_messages_of_one_role_become_one_turn() -> None:
    told = sent(messages=[USER, {"role": "user", "content": "there"}])
    assert told["messages"] == [
        {"role": "user", "content": [{"type": "text", "text": "Hi"}, {"type": "text", "text": "there"}]}
    ]


def test_tool_results_come_first_in_their_turn() -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}
    told = sent(
        messages=[
            USER,
            {"role": "assistant", "content": "", "tool_calls": [call]},
            {"role": "user", "content": "Quick!"},
            {"role": "tool", "tool_call_id": "c1", "content": ""},
        ]
    )
    assert told["messages"][1]["content"] == [
        {"type": "tool_use", "id": "c1", "name": "weather", "input": {}},
    ]
    assert told["messages"][2]["content"] == [
        {"type": "tool_result", "tool_use_id": "c1"},
        {"type": "text", "text": "Quick!"},
    ]


def test_arguments_keep_every_digit() -> None:
    arguments = '{"n": 12345678901234567890123, "x": 0.10000000000000000001}'
    call = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": arguments}}
    made = encoded(messages=[USER, {"role": "assistant", "tool_calls": [call]}])
    assert b"12345678901234567890123" in made.body
    assert b"0.10000000000000000001" in made.body


@pytest.mark.parametrize("arguments", ["[1]", "{", '"x"', "{} {}"])
def test_arguments_that_are_not_an_object_are_rejected(arguments: str) -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": arguments}}
    fault = refused(messages=[USER, {"role": "assistant", "tool_calls": [call]}])
    assert fault.param == "messages[1].tool_calls[0].function.arguments"


def test_empty_arguments_are_an_empty_object() -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": " "}}
    assert blocks(role="assistant", tool_calls=[call])[0]["input"] == {}


def test_ids_with_other_characters_are_replaced_in_calls_and_results_alike() -> None:
    calls = [
        {"id": name, "type": "function", "function": {"name": "weather", "arguments": "{}"}}
        for name in ("functions.weather:0", "functions_weather:0", "call_1")
    ]
    told = sent(
        messages=[
            USER,
            {"role": "assistant", "tool_calls": calls},
            *({"role": "tool", "tool_call_id": call["id"], "content": "x"} for call in calls),
        ]
    )
    asked = [block["id"] for block in told["messages"][1]["content"]]
    answered = [block["tool_use_id"] for block in told["messages"][2]["content"]]
    assert asked == answered
    assert len(set(asked)) == 3
    assert asked[2] == "call_1"
    assert all(name.replace("_", "").isalnum() for name in asked)


def test_a_tool_message_without_a_call_id_is_rejected() -> None:
    assert refused(messages=[USER, {"role": "tool", "content": "x"}]).param == "messages[1].tool_call_id"


def test_blank_texts_are_dropped_and_a_prefill_is_stripped_at_its_end() -> None:
    told = sent(
        messages=[
            {"role": "user", "content": [{"type": "text", "text": " \n"}, {"type": "text", "text": "Hi"}]},
            {"role": "assistant", "content": "The answer is: \n"},
        ]
    )
    assert told["messages"][0]["content"] == [{"type": "text", "text": "Hi"}]
    assert told["messages"][1]["content"] == [{"type": "text", "text": "The answer is:"}]


def test_only_the_last_text_of_an_assistant_is_stripped() -> None:
    told = sent(
        messages=[USER, {"role": "assistant", "content": "Well, "}, {"role": "user", "content": "Go on "}]
    )
    assert told["messages"][1]["content"] == [{"type": "text", "text": "Well, "}]
    assert told["messages"][2]["content"] == [{"type": "text", "text": "Go on "}]


@pytest.mark.parametrize(
    "messages", [[{"role": "system", "content": "Alone."}], [{"role": "user", "content": "  "}], []]
)
def test_a_chat_without_a_turn_is_rejected(messages: list[Any]) -> None:
    assert refused(messages=messages).param == "messages"


def test_refusals_become_text() -> None:
    assert blocks(role="assistant", content=None, refusal="No.") == [{"type": "text", "text": "No."}]
    part = {"type": "refusal", "refusal": "No."}
    assert blocks(role="assistant", content=[part]) == [{"type": "text", "text": "No."}]


def test_names_and_other_providers_fields_are_ignored_and_reported() -> None:
    call = {
        "id": "c1", "type": "function", "function": {"name": "weather", "arguments": "{}"},
        "extra_content": {"google": {"thought_signature": "x"}},
    }  # fmt: skip
    made = encoded(
        messages=[
            {"role": "user", "name": "anna", "content": "Hi", "mood": "good"},
            {
                "role": "assistant", "tool_calls": [call], "reasoning_content": "Hm.", "annotations": [],
                "reasoning_details": [{"type": "reasoning.text", "text": "Hm.", "format": "other", "index": 0}],
            },
            {"role": "tool", "tool_call_id": "c1", "name": "weather", "content": "x"},
        ]
    )  # fmt: skip
    assert set(made.ignored_fields) == {
        "messages[0].name", "messages[0].mood", "messages[1].tool_calls[0].extra_content",
        "messages[1].reasoning_details", "messages[1].reasoning_content",
    }  # fmt: skip


def test_messages_can_be_encoded_without_a_request() -> None:
    made = encode_messages(
        [Message(role="system", content="S"), Message(role="user", content="Hi", name="a")], "claude-opus-5"
    )
    assert made.system == [{"type": "text", "text": "S"}]
    assert made.turns == [{"role": "user", "content": [{"type": "text", "text": "Hi"}]}]
    assert made.ignored_fields == ["messages[1].name"]


def turn(role: str, *kinds: str) -> dict[str, Any]:
    return {"role": role, "content": [{"type": kind} for kind in kinds]}


@pytest.mark.parametrize(
    ("turns", "is_without"),
    [
        ([turn("user", "text")], False),
        ([turn("user", "text"), turn("assistant", "tool_use"), turn("user", "tool_result")], True),
        ([turn("user", "text"), turn("assistant", "thinking", "tool_use"), turn("user", "tool_result")], False),
        ([turn("user", "text"), turn("assistant", "redacted_thinking", "tool_use"), turn("user", "tool_result")],
         False),
        # The first call of the loop decides.
        ([turn("user", "text"), turn("assistant", "thinking", "tool_use"), turn("user", "tool_result"),
          turn("assistant", "tool_use"), turn("user", "tool_result")], False),
        # A message of the user ends the loop.
        ([turn("user", "text"), turn("assistant", "tool_use"), turn("user", "tool_result"),
          turn("assistant", "text"), turn("user", "text")], False),
    ],
)  # fmt: skip
def test_a_tool_loop_begun_without_thinking_is_found(
    turns: list[dict[str, Any]], *, is_without: bool
) -> None:
    assert called_without_thinking(turns) is is_without


EPHEMERAL: dict[str, Any] = {"type": "ephemeral", "ttl": "1h"}
CALLS = [
    {"id": f"c{at}", "type": "function", "function": {"name": "f", "arguments": "{}"}} for at in range(2)
]


def marked(found: list[dict[str, Any]]) -> list[Any]:
    return [block.get("cache_control") for block in found]


@pytest.mark.parametrize("role", ["user", "assistant", "system", "developer"])
@pytest.mark.parametrize(
    ("content", "marks"),
    [
        ("text", [EPHEMERAL]),
        ([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}], [None, EPHEMERAL]),
        ([{"type": "text", "text": "a"}, {"type": "text", "text": " "}], [EPHEMERAL]),
    ],
)
def test_cache_control_on_a_message_is_on_its_last_block(role: str, content: Any, marks: list[Any]) -> None:
    message = {"role": role, "content": content, "cache_control": EPHEMERAL}
    body = sent(messages=[message, USER] if role in {"system", "developer"} else [USER, message])
    found = body["system"] if "system" in body else body["messages"][-1]["content"]
    assert marked(found[-len(marks) :]) == marks
    assert encoded(messages=[USER, message, USER]).ignored_fields == ()


def test_cache_control_on_a_tool_message_is_on_its_result() -> None:
    messages = [
        USER,
        {"role": "assistant", "tool_calls": CALLS},
        {"role": "tool", "tool_call_id": "c0", "content": "r0"},
        {"role": "tool", "tool_call_id": "c1", "content": "r1", "cache_control": EPHEMERAL},
    ]
    found = sent(messages=messages)["messages"][-1]["content"]
    assert [block["type"] for block in found] == ["tool_result"] * 2
    assert marked(found) == [None, EPHEMERAL]
    empty = [*messages[:2], {"role": "tool", "tool_call_id": "c0", "content": "", "cache_control": EPHEMERAL}]
    assert marked(sent(messages=empty)["messages"][-1]["content"]) == [EPHEMERAL]


@pytest.mark.parametrize("at", [0, 1])
def test_cache_control_on_a_tool_call_is_on_its_messages_last_block(at: int) -> None:
    calls = [call | ({"cache_control": EPHEMERAL} if index == at else {}) for index, call in enumerate(CALLS)]
    found = blocks(role="assistant", content="Let me look.", tool_calls=calls)
    assert [block["type"] for block in found] == ["text", "tool_use", "tool_use"]
    assert marked(found) == [None, None, EPHEMERAL]


def test_cache_control_of_a_part_wins_and_thinking_has_none() -> None:
    part = {"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}}
    assert marked(blocks(role="user", content=[part], cache_control=EPHEMERAL)) == [{"type": "ephemeral"}]
    detail = {"type": "reasoning.text", "text": "Hm", "signature": "s", "format": "anthropic-claude-v1"}
    message = {"role": "assistant", "content": "a", "reasoning_details": [detail], "cache_control": EPHEMERAL}
    assert marked(blocks(**message)) == [None, EPHEMERAL]
    last = message | {"reasoning_details": [detail | {"after_text": 1}]}
    assert marked(blocks(**last)) == [EPHEMERAL, None]
    alone = {"role": "assistant", "reasoning_details": [detail], "cache_control": EPHEMERAL}
    assert encoded(messages=[USER, alone, USER]).ignored_fields == ("messages[1].cache_control",)


def test_cache_control_of_a_blank_text_is_on_the_last_block() -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "", "cache_control": EPHEMERAL}]
    assert marked(blocks(role="user", content=parts)) == [EPHEMERAL]


@pytest.mark.parametrize("role", ["user", "assistant", "system"])
def test_results_follow_their_calls_whatever_is_between(role: str) -> None:
    between = {"role": role, "content": "Wait."}
    results = [{"role": "tool", "tool_call_id": f"c{at}", "content": f"r{at}"} for at in range(2)]
    calls = {"role": "assistant", "tool_calls": CALLS}
    for messages in ([between, *results], [results[0], between, results[1]], [*results, between]):
        turns = sent(messages=[USER, calls, *messages, USER])["messages"]
        assert [turn["role"] for turn in turns[:3]] == ["user", "assistant", "user"]
        found = [block["tool_use_id"] for block in turns[2]["content"] if block["type"] == "tool_result"]
        assert found == ["c0", "c1"]
        assert turns[2]["content"][0]["type"] == "tool_result"
        told = [block for turn in turns for block in turn["content"] if block["type"] == "tool_result"]
        assert len(told) == 2
