"""The reader of one streamed chat or completion of OpenAI's: what it expects of the stream, and JSON in its place."""

from __future__ import annotations

from typing import Any

import msgspec

from llm_gateway.core.model_request import ModelRequest
from llm_gateway.providers.openai.errors import refusal_from
from llm_gateway.providers.openai.event_stream import OpenAIReplyStream
from llm_gateway.wire.errors import BadReply

_encode = msgspec.json.Encoder().encode


class ChatStream(OpenAIReplyStream):
    """Reads the stream that answers one request; the usage chunk goes on to those alone who asked for it."""

    __slots__ = ("_is_chat",)

    def __init__(self, request: ModelRequest, *, event_limit: int) -> None:
        """Read the answer to `request`; one event may have `event_limit` bytes."""
        super().__init__(
            choices=_expected_choices(request), hide_usage=not request.wants_usage, event_limit=event_limit
        )
        self._is_chat = request.traits.is_chat

    def whole(self, body: bytes) -> bytes:
        """Take a completion that answered the streamed request; return it as one chunk, its usage as another."""
        try:
            reply: dict[str, Any] = msgspec.json.decode(body)
            if reply.get("error") and not reply.get("choices"):
                self.refusal = refusal_from(reply)
                return b""
            events = _as_events(reply, is_chat=self._is_chat)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, KeyError, TypeError, AttributeError):
            message = "the provider answered a streamed request with JSON that is not a completion"
            raise BadReply(message) from None
        out = self.feed(events)
        if self.refusal is None:
            self.content_seen = self.finished = self.done = True
        return out


def _as_events(reply: dict[str, Any], *, is_chat: bool) -> bytes:
    choices = reply.pop("choices")
    usage = reply.pop("usage", None)
    if is_chat:
        reply["object"] = "chat.completion.chunk"
        for choice in choices:
            choice["delta"] = choice.pop("message")
    events = _event({**reply, "choices": choices})
    return events if usage is None else events + _event({**reply, "choices": [], "usage": usage})


def _event(chunk: dict[str, Any]) -> bytes:
    return b"data: " + _encode(chunk) + b"\n\n"


def _expected_choices(request: ModelRequest) -> int:
    """Return how many choices a complete stream finishes: n for each prompt."""
    try:
        choices = int(msgspec.json.decode(request.fields.get("n", b"1"), type=int | None) or 1)
        prompt = request.fields.get("prompt")
        if not request.traits.is_chat and prompt is not None and bytes(prompt).startswith(b"["):
            prompts = msgspec.json.decode(prompt)
            if prompts and not isinstance(prompts[0], int):
                choices *= len(prompts)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return 1
    return max(choices, 1)
