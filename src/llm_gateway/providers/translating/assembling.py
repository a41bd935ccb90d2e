"""Turns a stream that answered a unary request into one whole reply."""

from __future__ import annotations

from typing import Any

import msgspec

from llm_gateway.core.model_request import ModelRequest
from llm_gateway.core.sse import event_data, split_events
from llm_gateway.providers.base import Completion, ReplyStream
from llm_gateway.wire.errors import BadReply
from llm_gateway.wire.openai_chat.reply_writer import (
    Choice,
    Delta,
    FinishReason,
    FunctionCallDelta,
    ReplyWriter,
    ToolCallDelta,
)
from llm_gateway.wire.raw_json import JsonObject


class _ChunkChoice(msgspec.Struct):
    index: int = 0
    delta: Delta | None = None
    text: str | None = None
    finish_reason: FinishReason | None = None
    logprobs: dict[str, Any] | None = None


class _Chunk(msgspec.Struct):
    id: str
    model: str
    choices: list[_ChunkChoice]


_decode_chunk = msgspec.json.Decoder(_Chunk).decode


def whole_from_stream(reader: ReplyStream, body: bytes, request: ModelRequest) -> Completion:
    """Return the completion that a stream holds; raise BadReply if the stream is not complete."""
    events = reader.whole(body)
    if reader.refusal is not None:
        return Completion(body=body, usage=None, refusal=reader.refusal)
    writer = ReplyWriter(request)
    choices: dict[int, _Pieces] = {}
    for event in split_events(events):
        data = event_data(event)
        if data is None:
            continue
        chunk = _decode_chunk(data)
        writer.reply_id, writer.model = chunk.id, chunk.model
        for piece in chunk.choices:
            choices.setdefault(piece.index, _Pieces()).add(piece)
    if not choices:
        message = "the provider's stream contains no answer"
        raise BadReply(message)
    whole = [pieces.choice() for _, pieces in sorted(choices.items())]
    return Completion(body=writer.whole_of(whole, reader.usage), usage=reader.usage)


class _Pieces:
    """The pieces of one choice."""

    def __init__(self) -> None:
        self._content: list[str] = []
        self._reasoning: list[str] = []
        self._refusal: list[str] = []
        self._details: list[JsonObject] = []
        self._extra: JsonObject | None = None
        self._calls: dict[int, ToolCallDelta] = {}
        self._arguments: dict[int, list[str]] = {}
        self._logprobs: list[Any] = []
        self._finish: FinishReason = "stop"

    def add(self, piece: _ChunkChoice) -> None:
        delta = piece.delta or Delta(content=piece.text)
        for pieces, text in (
            (self._content, delta.content),
            (self._reasoning, delta.reasoning_content),
            (self._refusal, delta.refusal),
        ):
            if text is not None:
                pieces.append(text)
        self._details += delta.reasoning_details or ()
        self._extra = delta.extra_content or self._extra
        for call in delta.tool_calls or ():
            number = call.index or 0
            self._calls.setdefault(number, call)
            self._arguments.setdefault(number, []).append(call.function.arguments or "")
        if piece.logprobs is not None:
            self._logprobs += piece.logprobs.get("content") or ()
        self._finish = piece.finish_reason or self._finish

    def choice(self) -> Choice:
        delta = Delta(
            content="".join(self._content) if self._content else None,
            reasoning_content="".join(self._reasoning) or None,
            refusal="".join(self._refusal) or None,
            tool_calls=[self._call(number) for number in sorted(self._calls)] or None,
            reasoning_details=self._details or None,
            extra_content=self._extra,
        )
        logprobs = {"content": self._logprobs, "refusal": None} if self._logprobs else None
        return Choice(delta, self._finish, logprobs)

    def _call(self, number: int) -> ToolCallDelta:
        call = self._calls[number]
        arguments = "".join(self._arguments[number])
        return msgspec.structs.replace(
            call, function=FunctionCallDelta(name=call.function.name, arguments=arguments)
        )
