"""Translates Gemini's candidates, finish reasons, log probabilities and usage into OpenAI's."""

from __future__ import annotations

from typing import Any

import msgspec

from llm_gateway.core.ledger.usage import Usage
from llm_gateway.core.model_request import ModelRequest
from llm_gateway.wire.gemini.contents import (
    WireCandidate,
    WireFunctionCall,
    WireLogprobs,
    WirePart,
    WirePromptFeedback,
    WireToken,
    WireUsage,
)
from llm_gateway.wire.openai_chat.reply_writer import Delta, FinishReason, FunctionCallDelta, ToolCallDelta
from llm_gateway.wire.raw_json import JsonObject

# A larger token count is taken for an error of the provider.
_MAX_COUNT = 2**40
_UNFINISHED = "FINISH_REASON_UNSPECIFIED"
_ENDED_BY_ITSELF = "STOP"
_TOO_LONG = frozenset({"MAX_TOKENS", "CONTINUATION"})
# The model failed: the answer is unusable.
_BROKEN = frozenset({"MALFORMED_FUNCTION_CALL", "MALFORMED_RESPONSE", "UNEXPECTED_TOOL_CALL"})


def generated_id(request: ModelRequest) -> str:
    """Return an id for a reply that has none."""
    return f"{'chatcmpl' if request.traits.is_chat else 'cmpl'}-{request.created}"


class CandidateReader:
    """Translates one candidate, complete or as a sequence of pieces that each hold only new content."""

    def __init__(self, reply_id: str, index: int) -> None:
        # Prefix of the ids for calls that have none.
        self._name = f"call_{reply_id}_{index}"
        self._calls = 0
        self._message: str | None = None
        self._holds_more = False
        # Gemini's finish reason or block reason, once known.
        self.reason: str | None = None

    def take(self, candidate: WireCandidate) -> Delta:
        """Return the new content in `candidate`."""
        if candidate.finish_reason is not None and candidate.finish_reason != _UNFINISHED:
            self.reason, self._message = candidate.finish_reason, candidate.finish_message
        delta = Delta()
        for part in (candidate.content.parts or ()) if candidate.content is not None else ():
            self._add(delta, part)
        return delta

    def block(self, feedback: WirePromptFeedback) -> None:
        """Record that the provider blocked the prompt."""
        self.reason = feedback.block_reason or "BLOCKED"
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
        return f"The model's answer is broken: {self.reason}." if self.reason in _BROKEN else None

    def _add(self, delta: Delta, part: WirePart) -> None:
        signature = _extra_content(part.thought_signature)
        if part.function_call is not None:
            delta.tool_calls = [*(delta.tool_calls or ()), self._call(part.function_call, signature)]
            return
        if part.text and part.thought:
            delta.reasoning_content = (delta.reasoning_content or "") + part.text
        elif part.text:
            delta.content = (delta.content or "") + part.text
        elif part.text is None and _holds_something_else(part):
            self._holds_more = True
        delta.extra_content = signature or delta.extra_content

    def _call(self, call: WireFunctionCall, signature: JsonObject | None) -> ToolCallDelta:
        number = self._calls
        self._calls += 1
        arguments = msgspec.json.format(bytes(call.args), indent=-1).decode()
        return ToolCallDelta(
            index=number,
            id=call.id or f"{self._name}_{number}",
            type="function",
            function=FunctionCallDelta(name=call.name, arguments="{}" if arguments == "null" else arguments),
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


def usage_from_wire(wire: WireUsage | None) -> Usage | None:
    """Return the usage as OpenAI counts it; None if Gemini's counts are missing or impossible.

    Thoughts count as completion tokens, tool results that the model read as prompt tokens.
    """
    if wire is None or wire.prompt_token_count is None:
        return None
    thoughts = wire.thoughts_token_count or 0
    prompt = wire.prompt_token_count + (wire.tool_use_prompt_token_count or 0)
    completion = (wire.candidates_token_count or 0) + thoughts
    # Gemini sometimes omits `candidatesTokenCount`; it bills by the total.
    completion = max(completion, (wire.total_token_count or 0) - prompt)
    cached = wire.cached_content_token_count or 0
    if not all(0 <= count <= _MAX_COUNT for count in (prompt, completion, thoughts, cached)):
        return None
    return Usage(
        prompt_tokens=prompt,
        completion_tokens=completion,
        total_tokens=prompt + completion,
        cached_tokens=min(cached, prompt),
        reasoning_tokens=min(thoughts, completion),
    )
