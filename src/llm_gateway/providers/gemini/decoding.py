"""Translates Gemini's candidates, finish reasons and log probabilities into OpenAI's."""

from __future__ import annotations

from typing import Any

import msgspec

from llm_gateway.core.model_request import ModelRequest
from llm_gateway.providers.gemini.names import FunctionNames
from llm_gateway.wire.errors import BadReply
from llm_gateway.wire.gemini.contents import (
    WireCandidate,
    WireFunctionCall,
    WireLogprobs,
    WirePart,
    WirePromptFeedback,
    WireToken,
)
from llm_gateway.wire.openai_chat.finish_reasons import ending_reason, is_failure
from llm_gateway.wire.openai_chat.reply_writer import Delta, FinishReason, FunctionCallDelta, ToolCallDelta
from llm_gateway.wire.raw_json import JsonObject

# OpenAI's limit. It also bounds a blocked prompt, which the gateway reports once per choice.
MOST_CHOICES = 128
_ENDED_BY_ITSELF = "STOP"
_TOO_LONG = frozenset({"MAX_TOKENS", "CONTINUATION"})
# The model failed: the answer is unusable.
_BROKEN = frozenset({"MALFORMED_FUNCTION_CALL", "MALFORMED_RESPONSE", "UNEXPECTED_TOOL_CALL"})


def generated_id(request: ModelRequest) -> str:
    """Return an id for a reply that has none."""
    return f"{'chatcmpl' if request.traits.is_chat else 'cmpl'}-{request.created}"


def reason_of(value: str | None) -> str | None:
    """Return a finish or block reason; None for the values that stand for none."""
    reason = ending_reason(value)
    return None if reason is None else reason.strip().upper()


class CandidateReader:
    """Translates one candidate, complete or as a sequence of pieces that each hold only new content."""

    def __init__(self, reply_id: str, index: int, names: FunctionNames) -> None:
        self._names = names
        # Prefix of the ids for calls that have none.
        self._name = f"call_{reply_id}_{index}"
        self._calls = 0
        self._message: str | None = None
        self._holds_more = False
        # A text or a call came.
        self.has_content = False
        # Gemini's finish reason or block reason, once known.
        self.reason: str | None = None

    def take(self, candidate: WireCandidate) -> Delta:
        """Return the new content in `candidate`."""
        reason = reason_of(candidate.finish_reason)
        if reason is not None:
            self.reason, self._message = reason, candidate.finish_message
        delta = Delta()
        texts: list[str] = []
        thoughts: list[str] = []
        calls: list[ToolCallDelta] = []
        for part in (candidate.content.parts or ()) if candidate.content is not None else ():
            signature = _extra_content(part.thought_signature)
            if part.function_call is not None:
                calls.append(self._call(part.function_call, signature))
                continue
            if part.text:
                (thoughts if part.thought else texts).append(part.text)
            elif part.text is None and _holds_something_else(part):
                self._holds_more = True
            delta.extra_content = signature or delta.extra_content
        delta.content, delta.reasoning_content = "".join(texts) or None, "".join(thoughts) or None
        delta.tool_calls = calls or None
        self.has_content = self.has_content or bool(texts or calls)
        return delta

    def block(self, feedback: WirePromptFeedback) -> None:
        """Record that the provider blocked the prompt."""
        self.reason = reason_of(feedback.block_reason) or "BLOCKED"
        self._message = feedback.block_reason_message or f"The provider blocked the prompt: {self.reason}."

    @property
    def finish_reason(self) -> FinishReason:
        """Return OpenAI's finish reason; `stop` or `tool_calls` if Gemini gave none."""
        if self.reason in _TOO_LONG:
            return "length"
        if self.reason not in {None, _ENDED_BY_ITSELF}:
            return "content_filter"
        return "tool_calls" if self._calls else "stop"

    @property
    def refusal(self) -> str | None:
        """Return why the provider stopped the answer; None unless `finish_reason` is `content_filter`."""
        if self.finish_reason != "content_filter":
            return None
        return self._message or f"The provider stopped the answer: {self.reason}."

    @property
    def fault(self) -> str | None:
        """Return why the answer is unusable, as a sentence; None if it is usable."""
        if self._holds_more:
            return "The provider's answer contains data that a chat completion cannot represent."
        if self.reason is not None and (self.reason in _BROKEN or is_failure(self.reason)):
            return f"The model's answer is broken: {self.reason}."
        return None

    def _call(self, call: WireFunctionCall, signature: JsonObject | None) -> ToolCallDelta:
        if not call.name:
            message = "a function call in the provider's reply has no name"
            raise BadReply(message)
        number = self._calls
        self._calls += 1
        given = bytes(call.args)
        arguments = msgspec.json.format(given, indent=-1).decode() if given.startswith(b"{") else "{}"
        return ToolCallDelta(
            index=number,
            id=call.id or f"{self._name}_{number}",
            type="function",
            function=FunctionCallDelta(name=self._names.original(call.name), arguments=arguments),
            extra_content=signature,
        )


def _holds_something_else(part: WirePart) -> bool:
    others = (part.inline_data, part.file_data, part.executable_code, part.code_execution_result)
    return any(other is not None for other in others)


def _extra_content(signature: str | None) -> JsonObject | None:
    """Return a thought signature as `extra_content`, the place that Google's own OpenAI endpoint uses."""
    if not signature:
        return None
    return {"google": msgspec.Raw(msgspec.json.encode({"thought_signature": signature}))}


def logprobs(result: WireLogprobs | None) -> dict[str, Any] | None:
    """Return OpenAI's `logprobs` of a choice; None when Gemini gave none."""
    if result is None or not result.chosen_candidates:
        return None
    steps = []
    tops = result.top_candidates or []
    for index, chosen in enumerate(result.chosen_candidates):
        top = (tops[index].candidates or []) if index < len(tops) else []
        steps.append({**_token(chosen), "top_logprobs": [_token(token) for token in top]})
    return {"content": steps, "refusal": None}


def _token(token: WireToken) -> dict[str, Any]:
    return {"token": token.token, "logprob": token.log_probability, "bytes": None}
