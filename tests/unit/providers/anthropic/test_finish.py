"""How Anthropic's stop reasons become finish reasons."""

from __future__ import annotations

import json

import pytest

from llm_gateway.providers.anthropic.adapter import AnthropicAdapter
from llm_gateway.providers.anthropic.finish import finish_reason, refusal_text
from llm_gateway.wire.anthropic_messages.messages import StopDetails
from tests.fakes.anthropic_replies import ASKED, chunks, message
from tests.fakes.whole_replies import read_whole_reply

ADAPTER = AnthropicAdapter()


@pytest.mark.parametrize(
    ("stop_reason", "wanted"),
    [
        ("end_turn", "stop"), ("stop_sequence", "stop"), ("max_tokens", "length"), ("tool_use", "tool_calls"),
        ("model_context_window_exceeded", "length"), ("pause_turn", "length"), ("refusal", "content_filter"),
        ("a_new_one", "stop"), (None, "stop"),
    ],
)  # fmt: skip
def test_finish_reasons(stop_reason: str | None, wanted: str) -> None:
    body = message({"type": "text", "text": "x"}, stop_reason=stop_reason)
    assert finish_reason(stop_reason) == wanted
    (choice,) = json.loads(ADAPTER.decode(body, ASKED).body)["choices"]
    assert choice["finish_reason"] == wanted
    events, _ = read_whole_reply(ADAPTER, body, ASKED)
    assert [one["choices"][0]["finish_reason"] for one in chunks(events)[:-1]][-1] == wanted


def test_only_a_refusal_has_a_text() -> None:
    details = StopDetails(explanation="Because.")
    assert refusal_text("refusal", details) == "Because."
    assert refusal_text("end_turn", details) is None
    assert refusal_text(None, None) is None


@pytest.mark.parametrize("details", [None, StopDetails(), StopDetails(explanation="")])
def test_a_refusal_without_an_explanation_has_a_default_text(details: StopDetails | None) -> None:
    assert refusal_text("refusal", details) == "The model declined to answer."
