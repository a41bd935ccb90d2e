"""Writes replies in OpenAI's shape from another dialect's content: whole replies and stream chunks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import msgspec

from llm_gateway.core.ledger.usage import StatedUsage, Usage
from llm_gateway.core.model_request import ModelRequest
from llm_gateway.wire.raw_json import JsonObject

# Finish reasons of an answer that is a text, even if it is empty.
_WITH_TEXT = frozenset({"stop", "length"})
# The price book's units that OpenAI's usage has a place for, and its names for them.
_PARTS_OF_PROMPT = (("input_audio_tokens", "audio_tokens"), ("input_image_tokens", "image_tokens"))
_PARTS_OF_COMPLETION = (("output_audio_tokens", "audio_tokens"),)
FinishReason = Literal["stop", "length", "tool_calls", "content_filter"]


class FunctionCallDelta(msgspec.Struct, omit_defaults=True):
    """A call, or the next piece of its arguments."""

    name: str | None = None
    arguments: str | None = None


class ToolCallDelta(msgspec.Struct, omit_defaults=True, kw_only=True):
    """One call; `index` is used in streams only and numbers the calls of a choice from 0."""

    index: int | None = None
    id: str | None = None
    type: Literal["function"] | None = None
    function: FunctionCallDelta
    extra_content: JsonObject | None = None


class Delta(msgspec.Struct, omit_defaults=True, kw_only=True):
    """The content of a choice, or the next piece of it; None fields are omitted."""

    role: Literal["assistant"] | None = None
    content: str | None = None
    reasoning_content: str | None = None
    refusal: str | None = None
    tool_calls: list[ToolCallDelta] | None = None
    reasoning_details: list[JsonObject] | None = None
    extra_content: JsonObject | None = None


def is_empty(delta: Delta) -> bool:
    """Tell whether a delta has no text, refusal or calls; `content` is then the empty string instead of null."""
    return delta.content is None and delta.refusal is None and not delta.tool_calls


class Choice(msgspec.Struct, frozen=True):
    """One whole answer; `logprobs` is OpenAI's own value, ready to be written."""

    delta: Delta
    finish_reason: FinishReason
    logprobs: Any = None


class ReplyWriter:
    """Writes the reply to one request, in the shape of the endpoint that was called.

    `reply_id` is the provider's id or one derived from the request's; `model` is the provider's name of the model.
    """

    __slots__ = ("_created", "_default_id", "_default_model", "_is_chat", "_wants_usage", "model", "reply_id")

    def __init__(self, request: ModelRequest, *, reply_id: str = "", model: str = "") -> None:
        """`reply_id` and `model` may also be set later, before the first write; defaults replace empty ones."""
        self._created = request.created
        self._is_chat = request.traits.is_chat
        self._default_id = f"{'chatcmpl' if self._is_chat else 'cmpl'}-{request.created}"
        self._default_model = request.model
        self._wants_usage = request.wants_usage
        self.reply_id = reply_id
        self.model = model

    def whole(self, delta: Delta, finish_reason: FinishReason, usage: Usage | StatedUsage | None) -> bytes:
        """Return a unary reply with one choice."""
        return self.whole_of([Choice(delta, finish_reason)], usage)

    def whole_of(self, choices: Sequence[Choice], usage: Usage | StatedUsage | None) -> bytes:
        """Return a unary reply with these choices, numbered in order."""
        written = [self._whole_choice(index, choice) for index, choice in enumerate(choices)]
        head = self._head("chat.completion" if self._is_chat else "text_completion")
        return msgspec.json.encode({**head, "choices": written, "usage": _wire_usage(usage)})

    def _whole_choice(self, index: int, choice: Choice) -> dict[str, Any]:
        if self._is_chat:
            message: dict[str, Any] = {"role": "assistant", "content": None, "refusal": None}
            message.update(msgspec.to_builtins(choice.delta, builtin_types=(msgspec.Raw,)))
            for call in message.get("tool_calls", ()):
                call.pop("index", None)
            if (
                choice.finish_reason in _WITH_TEXT
                and message["content"] is None
                and "tool_calls" not in message
            ):
                # An empty answer is a text, too: clients take null for a call, or fail on it.
                message["content"] = ""
            written: dict[str, Any] = {"index": index, "message": message}
        else:
            written = {"index": index, "text": choice.delta.content or ""}
        return {**written, "logprobs": choice.logprobs, "finish_reason": choice.finish_reason}

    def chunk(
        self,
        delta: Delta,
        finish_reason: FinishReason | None = None,
        *,
        index: int = 0,
        logprobs: object = None,
    ) -> bytes:
        """Return one event of a stream; b"" if it would be empty (a legacy stream has no role)."""
        choice: dict[str, Any]
        if self._is_chat:
            choice = {"index": index, "delta": delta}
        elif delta.content or finish_reason is not None:
            choice = {"index": index, "text": delta.content or ""}
        else:
            return b""
        return self._event({"choices": [{**choice, "logprobs": logprobs, "finish_reason": finish_reason}]})

    def usage(self, usage: Usage | StatedUsage | None) -> bytes:
        """Return the usage event, or b"" if the client did not ask for it or the provider stated too little."""
        written = _wire_usage(usage) if self._wants_usage else None
        return b"" if written is None else self._event({"choices": [], "usage": written})

    def _event(self, body: dict[str, Any]) -> bytes:
        head = self._head("chat.completion.chunk" if self._is_chat else "text_completion")
        return b"data: " + msgspec.json.encode({**head, **body}) + b"\n\n"

    def _head(self, kind: str) -> dict[str, Any]:
        return {
            "id": self.reply_id or self._default_id,
            "object": kind,
            "created": self._created,
            "model": self.model or self._default_model,
        }


def _wire_usage(usage: Usage | StatedUsage | None) -> dict[str, Any] | None:
    """Return `usage` as the provider stated it; None if it did not state both prompt and completion."""
    if usage is None or usage.prompt_tokens is None or usage.completion_tokens is None:
        return None
    read = {"cached_tokens": usage.cached_tokens}
    written = {"reasoning_tokens": usage.reasoning_tokens}
    if usage.cache_write_tokens:
        read["cache_write_tokens"] = usage.cache_write_tokens
    if usage.details is not None:
        quantities = usage.details.quantities
        read |= {name: int(quantities[unit]) for unit, name in _PARTS_OF_PROMPT if unit in quantities}
        written |= {name: int(quantities[unit]) for unit, name in _PARTS_OF_COMPLETION if unit in quantities}
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.total_tokens or usage.prompt_tokens + usage.completion_tokens,
        "prompt_tokens_details": read,
        "completion_tokens_details": written,
    }
