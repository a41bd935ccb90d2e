"""Translates Anthropic's stop reasons and refusals."""

from __future__ import annotations

from llm_gateway.providers.base import UpstreamErrorBody
from llm_gateway.wire.anthropic_messages.messages import StopDetails
from llm_gateway.wire.openai_chat.finish_reasons import ending_reason, is_failure
from llm_gateway.wire.openai_chat.reply_writer import FinishReason

# For the stop reasons of some servers that report a failure: the answer is unusable.
BROKEN_ANSWER = UpstreamErrorBody(message="The model failed while it answered.", type="server_error")
_DECLINED = "The model declined to answer."

_FINISH: dict[str, FinishReason] = {
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    # The answer is incomplete: the client may send it back to continue.
    "pause_turn": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}


def is_given(stop_reason: str | None) -> bool:
    """Tell whether a stop reason says that the answer is complete."""
    return ending_reason(stop_reason) is not None


def reports_failure(stop_reason: str | None) -> bool:
    """Tell whether a stop reason says that the model did not finish its answer."""
    return stop_reason is not None and is_failure(stop_reason)


def finish_reason(stop_reason: str | None) -> FinishReason:
    """Return OpenAI's finish reason; "stop" for an unknown or missing stop reason."""
    return _FINISH.get(stop_reason or "", "stop")


def refusal_text(stop_reason: str | None, details: StopDetails | None) -> str | None:
    """Return the text of the client's `refusal` field; None if the model did not refuse."""
    if stop_reason != "refusal":
        return None
    return (details.explanation if details is not None else None) or _DECLINED
