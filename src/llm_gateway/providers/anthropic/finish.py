"""Why an Anthropic message ended, in OpenAI's terms."""

from __future__ import annotations

from llm_gateway.wire.anthropic_messages.messages import StopDetails
from llm_gateway.wire.openai_chat.reply_writer import FinishReason

_DECLINED = "The model declined to answer."

_FINISH: dict[str, FinishReason] = {
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    # Only a part of the answer: the provider wants to be asked to go on.
    "pause_turn": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}


def finish_reason(stop_reason: str | None) -> FinishReason:
    """Return OpenAI's word for why a message ended; one that is not known is an end like any other."""
    return _FINISH.get(stop_reason or "", "stop")


def refusal_text(stop_reason: str | None, details: StopDetails | None) -> str | None:
    """Return what a client reads in `refusal`; None when the model did not decline."""
    if stop_reason != "refusal":
        return None
    return (details.explanation if details is not None else None) or _DECLINED
