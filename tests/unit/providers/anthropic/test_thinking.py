"""How reasoning efforts become thinking settings, and how thinking is returned to its place."""

from __future__ import annotations

import json
import time
from typing import Any

import msgspec
import pytest

from llm_gateway.core.errors import BadRequest
from llm_gateway.providers.anthropic.models import capabilities_of
from llm_gateway.providers.anthropic.thinking import (
    Detail,
    Reasoning,
    detail_of,
    interleave,
    own_details,
    reasoning_for,
)
from llm_gateway.wire.anthropic_messages.messages import Block
from llm_gateway.wire.raw_json import JsonObject
from tests.fakes.anthropic_requests import USER, WEATHER, blocks, encoded, refused, sent
from tests.fakes.anthropic_wire import request_faults

ADAPTIVE = {"type": "adaptive"}
OPENLY = {"type": "adaptive", "display": "summarized"}
FORMAT = "anthropic-claude-v1"


def budget(tokens: int) -> dict[str, Any]:
    return {"type": "enabled", "budget_tokens": tokens}


# --- efforts ---


@pytest.mark.parametrize(
    ("model", "level", "thinking", "effort", "is_exact"),
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
    model: str, level: str, thinking: dict[str, Any] | None, effort: str | None, *, is_exact: bool
) -> None:
    made = encoded(model, reasoning_effort=level, max_tokens=10_000)
    body = json.loads(made.body)
    assert request_faults(body) == []
    assert body.get("thinking") == thinking
    assert body.get("output_config", {}).get("effort") == effort
    assert made.ignored_fields == (() if is_exact else ("reasoning_effort",))


def test_thinking_needs_room_and_no_forced_tool() -> None:
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


def test_a_huge_limit_gets_the_largest_budget() -> None:
    made = encoded("claude-sonnet-4-5", reasoning_effort="low", max_tokens=10**400)
    assert json.loads(made.body)["thinking"] == budget(32_000)


def test_a_budget_excludes_sampling() -> None:
    made = encoded("claude-sonnet-4-5", reasoning_effort="high", temperature=0.2)
    assert made.ignored_fields == ("temperature",)
    assert json.loads(made.body)["thinking"] == budget(32_000)


def test_a_budget_is_not_started_in_a_tool_loop_without_thinking() -> None:
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


def test_an_unknown_effort_is_rejected() -> None:
    assert refused(reasoning_effort="enormous").param == "reasoning_effort"


def test_without_an_effort_the_models_default_applies() -> None:
    assert reasoning_for(None, capabilities_of("claude-opus-5"), 1000, may_think=True) == Reasoning()


def test_an_unknown_effort_names_the_known_ones() -> None:
    with pytest.raises(BadRequest, match="none, minimal, low, medium, high, xhigh, max"):
        reasoning_for("enormous", capabilities_of("claude-opus-5"), 1000, may_think=True)


# --- details of thinking ---


def raw(**fields: Any) -> JsonObject:
    return msgspec.json.decode(msgspec.json.encode(fields), type=JsonObject)


def test_a_thinking_block_becomes_a_detail_with_its_place() -> None:
    block = Block("thinking", thinking="Hm.", signature="s")
    made = detail_of(block, "claude-opus-5", index=1, after_text=7, after_calls=2)
    assert msgspec.json.decode(msgspec.json.encode(made)) == {
        "type": "reasoning.text", "text": "Hm.", "signature": "s", "format": FORMAT, "model": "claude-opus-5",
        "index": 1, "after_text": 7, "after_calls": 2,
    }  # fmt: skip


def test_redacted_thinking_becomes_an_encrypted_detail() -> None:
    made = detail_of(
        Block("redacted_thinking", data="d"), "claude-opus-5", index=0, after_text=0, after_calls=0
    )
    assert msgspec.json.decode(msgspec.json.encode(made)) == {
        "type": "reasoning.encrypted", "data": "d", "format": FORMAT, "model": "claude-opus-5", "index": 0,
    }  # fmt: skip


def test_only_complete_details_of_the_format_are_read() -> None:
    given = [
        raw(type="reasoning.text", signature="s", format=FORMAT),
        raw(type="reasoning.text", text="no signature", format=FORMAT),
        raw(type="reasoning.encrypted", signature="no data", format=FORMAT),
        raw(type="reasoning.text", signature="s", format="other"),
        raw(type="reasoning.text", signature=5, format=FORMAT),
        raw(signature="no type", format=FORMAT),
        raw(type="reasoning.encrypted", data="d", format=FORMAT, a_new_field=1),
    ]
    assert [one.signature or one.data for one in own_details(given, "claude-opus-5")] == ["s", "d"]


def test_redacted_thinking_is_sent_back() -> None:
    detail = {"type": "reasoning.encrypted", "data": "d", "format": FORMAT, "index": 0}
    assert blocks(role="assistant", content="Yes", reasoning_details=[detail]) == [
        {"type": "redacted_thinking", "data": "d"}, {"type": "text", "text": "Yes"},
    ]  # fmt: skip


def test_thinking_is_sent_only_to_the_model_that_made_it() -> None:
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


# --- the order of blocks ---


def test_thinking_returns_to_its_place_between_and_inside_texts() -> None:
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


def test_impossible_places_lose_no_call_and_no_text() -> None:
    call = {"type": "tool_use"}
    text = {"type": "text", "text": "Yes."}
    details = [Detail(type="reasoning.text", after_text=at, after_calls=at) for at in (-1, 1, -1)]
    said = [block for block in interleave(details, [text], [call, call]) if block["type"] != "thinking"]
    assert said == [{"type": "text", "text": "Y"}, call, {"type": "text", "text": "es."}, call]


def test_interleaving_takes_linear_time() -> None:
    text = "x" * (8 << 20)
    details = [Detail(type="reasoning.text", after_text=at) for at in range(20_000)]
    begun = time.monotonic()
    blocks = interleave(
        details, [{"type": "text", "text": text}] + [{"type": "text", "text": "y"}] * 200_000, []
    )
    # Some twenty times what it takes; copying the rest of the text for each thought takes that again.
    assert time.monotonic() - begun < 2
    assert "".join(block.get("text", "") for block in blocks) == text + "y" * 200_000


def test_a_cut_text_keeps_its_cache_control_on_the_last_piece() -> None:
    text = {"type": "text", "text": "Yes.", "cache_control": {"type": "ephemeral"}}
    made = interleave([Detail(type="reasoning.text", signature="s", after_text=1)], [text], [])
    assert made == [
        {"type": "text", "text": "Y"}, {"type": "thinking", "thinking": "", "signature": "s"},
        {"type": "text", "text": "es.", "cache_control": {"type": "ephemeral"}},
    ]  # fmt: skip
