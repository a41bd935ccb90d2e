"""A stream that answered a unary request becomes the whole reply."""

from __future__ import annotations

import json
from typing import Any

import pytest

from llm_gateway.providers.gemini.streaming import GeminiStream
from llm_gateway.providers.translating.assembling import whole_from_stream
from llm_gateway.wire.errors import BadReply
from tests.fakes.gemini_wire import ANSWERS, complete_recording, request, streamed


def whole(body: bytes, **fields: Any) -> Any:
    asked = request(**fields)
    return json.loads(whole_from_stream(GeminiStream(asked, event_limit=1 << 20), body, asked).body)


@pytest.mark.parametrize("endpoint", ["chat/completions", "completions"])
@pytest.mark.parametrize("name", ANSWERS)
def test_choices_calls_reasoning_and_log_probabilities_are_put_together(name: str, endpoint: Any) -> None:
    wanted: dict[str, Any] = {"n": 2} if name == "two-candidates" else {}
    assert whole(streamed(name), endpoint=endpoint, **wanted) == complete_recording(name, endpoint=endpoint)


def test_a_stream_without_an_answer_is_a_bad_reply() -> None:
    for body in (b": ping\n\n", b"data: [DONE]\n\n", streamed("cut")):
        with pytest.raises(BadReply):
            whole(body)


def test_a_failing_stream_is_a_refusal() -> None:
    asked = request()
    reader = GeminiStream(asked, event_limit=1 << 20)
    refusal = whole_from_stream(reader, streamed("failing-event"), asked).refusal
    assert refusal is not None
    assert refusal.message == "The model is overloaded. Please try again later."
