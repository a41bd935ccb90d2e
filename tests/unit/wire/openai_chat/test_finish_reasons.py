"""Which finish reasons end a choice, and which report a failure, in the spellings of servers."""

from __future__ import annotations

from typing import Any

import pytest

from llm_gateway.wire.openai_chat.finish_reasons import ending_reason, is_failure


@pytest.mark.parametrize(
    "value",
    [
        None, 5, False, [], "", " ", "null", "None", "NULL", "undefined", "not_finished", "NOT FINISHED",
        "in-progress", "unspecified", "FINISH_REASON_UNSPECIFIED", "pending",
    ],
)  # fmt: skip
def test_what_names_no_reason_ends_nothing(value: Any) -> None:
    assert ending_reason(value) is None


@pytest.mark.parametrize(
    "reason",
    [
        "error", "ERROR", "network_error", "abort", "cancelled", "Canceled", "failed", "fail", "engine_overloaded",
        "exception", "timeout", "time_out", "timed out", "interrupted", "insufficient_system_resource",
        "unclosed stream",
    ],
)  # fmt: skip
def test_a_failure_in_any_spelling_is_one(reason: str) -> None:
    assert ending_reason(reason) == reason
    assert is_failure(reason)


@pytest.mark.parametrize(
    "reason",
    [
        "stop", "length", "tool_calls", "function_call", "content_filter", "eos", "max_tokens", "model_length",
        "end_turn", "stop_sequence", "pause_turn", "refusal", "recitation", "safety", "unknown",
    ],
)  # fmt: skip
def test_every_other_reason_ends_an_answer(reason: str) -> None:
    assert ending_reason(reason) == reason
    assert not is_failure(reason)
