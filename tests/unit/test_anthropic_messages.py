"""What becomes of OpenAI's messages and their parts on the way to Anthropic, and of thinking that comes back."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from llm_gateway.providers.anthropic.models import capabilities_of
from llm_gateway.providers.anthropic.thinking import Detail, interleave
from tests.fakes.anthropic_requests import USER, WEATHER, blocks, encoded, refused, sent
from tests.fakes.anthropic_wire import request_faults

# --- messages ---


def test_system_prompts_come_together_wherever_they_stood() -> None:
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


def test_neighbours_of_one_role_become_one_turn() -> None:
    told = sent(messages=[USER, {"role": "user", "content": "there"}])
    assert told["messages"] == [
        {"role": "user", "content": [{"type": "text", "text": "Hi"}, {"type": "text", "text": "there"}]}
    ]


def test_results_stand_before_words_in_their_turn() -> None:
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
def test_arguments_that_are_no_object_are_refused(arguments: str) -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": arguments}}
    fault = refused(messages=[USER, {"role": "assistant", "tool_calls": [call]}])
    assert fault.param == "messages[1].tool_calls[0].function.arguments"


def test_ids_of_other_providers_are_made_fit_and_stay_pairs() -> None:
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


def test_a_result_of_no_call_is_refused() -> None:
    assert refused(messages=[USER, {"role": "tool", "content": "x"}]).param == "messages[1].tool_call_id"


def test_blank_texts_are_not_sent_and_a_prefill_has_no_white_space_at_its_end() -> None:
    told = sent(
        messages=[
            {"role": "user", "content": [{"type": "text", "text": " \n"}, {"type": "text", "text": "Hi"}]},
            {"role": "assistant", "content": "The answer is: \n"},
        ]
    )
    assert told["messages"][0]["content"] == [{"type": "text", "text": "Hi"}]
    assert told["messages"][1]["content"] == [{"type": "text", "text": "The answer is:"}]


@pytest.mark.parametrize(
    "messages", [[{"role": "system", "content": "Alone."}], [{"role": "user", "content": "  "}], []]
)
def test_there_has_to_be_something_to_answer(messages: list[Any]) -> None:
    assert refused(messages=messages).param == "messages"


def test_what_an_assistant_would_not_say_is_text() -> None:
    assert blocks(role="assistant", content=None, refusal="No.") == [{"type": "text", "text": "No."}]
    part = {"type": "refusal", "refusal": "No."}
    assert blocks(role="assistant", content=[part]) == [{"type": "text", "text": "No."}]


def test_names_and_signs_of_other_providers_are_left_out_and_said() -> None:
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


# --- parts ---


def part(kind: str, **fields: Any) -> dict[str, Any]:
    return {"type": kind, kind: fields}


def test_files_of_every_sort_that_there_is_a_block_for() -> None:
    text = part("file", file_data="data:text/plain;charset=utf-8;base64,R3LDvGV6aQ==", filename="a.txt")
    image = part("file", file_data="data:image/jpg;base64,/9j/")
    stored = part("file", file_id="file_011")
    assert blocks(role="user", content=[text, image, stored]) == [
        {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "Grüezi"},
         "title": "a.txt"},
        {"type": "image", "source": {"type": "base64", "media_type": "image/jpeg", "data": "/9j/"}},
        {"type": "document", "source": {"type": "file", "file_id": "file_011"}},
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("content", "param"),
    [
        (part("image_url", url="data:image/bmp;base64,AA=="), "messages[0].content[0].image_url.url"),
        (part("image_url", url="ftp://example.com/a.png"), "messages[0].content[0].image_url.url"),
        (part("image_url", url="data:image/png,raw"), "messages[0].content[0].image_url.url"),
        (part("file", filename="a"), "messages[0].content[0].file"),
        (part("file", file_data="data:application/zip;base64,AA=="), "messages[0].content[0].file.file_data"),
        (part("file", file_data="data:text/plain;base64,/w=="), "messages[0].content[0].file.file_data"),
        (part("input_audio", data="AA==", format="wav"), "messages[0].content[0]"),
    ],
)
def test_parts_that_there_is_no_block_for_are_refused(content: dict[str, Any], param: str) -> None:
    fault = refused(messages=[{"role": "user", "content": [content]}])
    assert (fault.param, fault.code) == (param, "unsupported_by_provider")


@pytest.mark.parametrize("role", ["system", "assistant"])
def test_images_stand_in_no_other_mouth(role: str) -> None:
    image = part("image_url", url="https://example.com/a.png")
    assert refused(messages=[USER, {"role": role, "content": [image]}]).param == "messages[1].content[0]"


def test_how_closely_to_look_is_left_out() -> None:
    image = part("image_url", url="https://example.com/a.png", detail="high")
    made = encoded(messages=[{"role": "user", "content": [image]}])
    assert made.ignored_fields == ("messages[0].content[0].image_url.detail",)


# --- thinking ---

ADAPTIVE = {"type": "adaptive"}
OPENLY = {"type": "adaptive", "display": "summarized"}


def budget(tokens: int) -> dict[str, Any]:
    return {"type": "enabled", "budget_tokens": tokens}


@pytest.mark.parametrize(
    ("model", "level", "thinking", "effort", "is_whole"),
    [
        ("claude-opus-5", "minimal", OPENLY, "low", True),
        ("claude-opus-5", "xhigh", OPENLY, "xhigh", True),
        ("claude-opus-5", "max", OPENLY, "max", True),
        ("claude-opus-5", "none", {"type": "disabled"}, None, True),
        ("claude-opus-5-5", "none", None, "low", False),
        ("claude-mythos-preview", "high", ADAPTIVE, "high", True),
        ("claude-opus-4-6", "medium", ADAPTIVE, "medium", True),
        ("claude-opus-4-6", "xhigh", ADAPTIVE, "high", False),
        ("claude-opus-4-6", "none", None, None, True),
        ("claude-opus-4-5", "medium", budget(5_000), "medium", True),
        ("claude-opus-4-5", "max", budget(9_500), "high", False),
        ("claude-sonnet-4-5", "low", budget(2_000), None, True),
        ("claude-sonnet-4-5", "minimal", budget(1_024), None, True),
        ("claude-sonnet-4-5", "none", None, None, True),
        ("claude-3-5-haiku-20241022", "high", None, None, False),
        ("glm-5", "high", budget(8_000), None, True),
    ],
)
def test_efforts(
    model: str, level: str, thinking: dict[str, Any] | None, effort: str | None, *, is_whole: bool
) -> None:
    made = encoded(model, reasoning_effort=level, max_tokens=10_000)
    body = json.loads(made.body)
    assert request_faults(body) == []
    assert body.get("thinking") == thinking
    assert body.get("output_config", {}).get("effort") == effort
    assert made.ignored_fields == (() if is_whole else ("reasoning_effort",))


def test_a_budget_needs_room_and_a_free_choice() -> None:
    assert encoded("claude-sonnet-4-5", reasoning_effort="high", max_tokens=1000).ignored_fields == (
        "reasoning_effort",
    )
    assert sent("claude-sonnet-4-5", reasoning_effort="high")["thinking"] == budget(32_000)
    forced = encoded("claude-sonnet-4-5", reasoning_effort="high", tools=[WEATHER], tool_choice="required")
    assert "thinking" not in json.loads(forced.body)
    assert forced.ignored_fields == ("reasoning_effort",)
    forced = encoded(reasoning_effort="high", tools=[WEATHER], tool_choice="required")
    assert "thinking" not in json.loads(forced.body)
    assert forced.ignored_fields == ()


def test_a_limit_of_any_size_has_a_budget() -> None:
    made = encoded("claude-sonnet-4-5", reasoning_effort="low", max_tokens=10**400)
    assert json.loads(made.body)["thinking"] == budget(32_000)


def test_a_budget_leaves_no_room_for_sampling() -> None:
    made = encoded("claude-sonnet-4-5", reasoning_effort="high", temperature=0.2)
    assert made.ignored_fields == ("temperature",)
    assert json.loads(made.body)["thinking"] == budget(32_000)


def test_a_budget_is_not_begun_among_calls_made_without_thinking() -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}
    detail = {
        "type": "reasoning.text",
        "text": "t",
        "signature": "s",
        "format": "anthropic-claude-v1",
        "index": 0,
    }
    asked = {"role": "assistant", "content": "Let me look.", "tool_calls": [call]}
    result = {"role": "tool", "tool_call_id": "c1", "content": "x"}
    without = encoded("claude-sonnet-4-5", reasoning_effort="high", messages=[USER, asked, result])
    assert without.ignored_fields == ("reasoning_effort",)
    thought = asked | {"reasoning_details": [detail]}
    twice = [USER, thought, result, asked, result]
    assert encoded("claude-sonnet-4-5", reasoning_effort="high", messages=twice).ignored_fields == ()
    over = [USER, asked, result, {"role": "assistant", "content": "Sun."}, USER]
    assert encoded("claude-sonnet-4-5", reasoning_effort="high", messages=over).ignored_fields == ()


def test_an_unknown_effort_is_refused() -> None:
    assert refused(reasoning_effort="enormous").param == "reasoning_effort"


def test_thinking_goes_back_to_its_place_even_if_the_text_was_cut() -> None:
    def detail(signature: str, **place: int) -> dict[str, Any]:
        return {
            "type": "reasoning.text", "text": "", "signature": signature, "format": "anthropic-claude-v1",
            "index": 0,
        } | place  # fmt: skip

    details = [detail("a"), detail("b", after_text=3), detail("c", after_text=99, after_calls=9)]
    assert blocks(role="assistant", content="Yes. No.", reasoning_details=details) == [
        {"type": "thinking", "thinking": "", "signature": "a"},
        {"type": "text", "text": "Yes"},
        {"type": "thinking", "thinking": "", "signature": "b"},
        {"type": "text", "text": ". No."},
        {"type": "thinking", "thinking": "", "signature": "c"},
    ]


def test_places_that_nobody_gave_lose_no_call_and_no_word() -> None:
    call = {"type": "tool_use"}
    text = {"type": "text", "text": "Yes."}
    details = [Detail(type="reasoning.text", after_text=at, after_calls=at) for at in (-1, 1, -1)]
    said = [block for block in interleave(details, [text], [call, call]) if block["type"] != "thinking"]
    assert said == [{"type": "text", "text": "Y"}, call, {"type": "text", "text": "es."}, call]


def test_a_thousand_thoughts_in_a_long_text_are_soon_in_their_places() -> None:
    text = "x" * (8 << 20)
    details = [Detail(type="reasoning.text", after_text=at) for at in range(20_000)]
    begun = time.monotonic()
    blocks = interleave(
        details, [{"type": "text", "text": text}] + [{"type": "text", "text": "y"}] * 200_000, []
    )
    # Some twenty times what it takes; copying the rest of the text for each thought takes that again.
    assert time.monotonic() - begun < 2
    assert "".join(block.get("text", "") for block in blocks) == text + "y" * 200_000


def test_thinking_goes_back_to_its_own_model_alone() -> None:
    detail = {"type": "reasoning.text", "text": "t", "signature": "s", "format": "anthropic-claude-v1"}

    def given(model: str) -> dict[str, Any]:
        details = [detail | {"index": 0, "model": model}]
        return {"role": "assistant", "content": "x", "reasoning_content": "t", "reasoning_details": details}

    dated = encoded("claude-opus-4-5", messages=[USER, given("claude-opus-4-5-20251101")])
    assert b'"signature":"s"' in dated.body
    other = encoded("claude-opus-5-5", messages=[USER, given("claude-opus-5")])
    assert b"signature" not in other.body
    assert other.ignored_fields == ("messages[1].reasoning_details", "messages[1].reasoning_content")
    compatible = encoded("glm-5", messages=[USER, given("GLM-5-0707")])
    assert b'"signature":"s"' in compatible.body


def test_new_models_are_taken_for_new() -> None:
    assert capabilities_of("claude-atlas-7").thinking == "adaptive"
    assert capabilities_of("claude-haiku-5-5").efforts[-1] == "max"
