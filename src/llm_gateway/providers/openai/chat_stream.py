"""The reader of a streamed chat or legacy completion; it also accepts a JSON reply in place of a stream."""

from __future__ import annotations

from llm_gateway.core.model_request import ModelRequest
from llm_gateway.providers.openai.chunks import expected_choices
from llm_gateway.providers.openai.event_stream import OpenAIReplyStream
from llm_gateway.providers.openai.whole_replies import refusal_of
from llm_gateway.wire.errors import BadReply
from llm_gateway.wire.loose_json import read_json
from llm_gateway.wire.openai_chat.reply_forms import as_chunks
from llm_gateway.wire.stated_costs import CostReader


class ChatStream(OpenAIReplyStream):
    """Reads the stream of one request; drops the usage chunk unless the client asked for it."""

    __slots__ = ("_request",)

    def __init__(
        self, request: ModelRequest, *, event_limit: int, read_cost: CostReader | None = None
    ) -> None:
        fields = request.fields
        # Not by `super`, which would be one more object for each stream.
        OpenAIReplyStream.__init__(
            self,
            # Nearly every request has one: that is known without a call.
            choices=expected_choices(request) if "n" in fields or "prompt" in fields else 1,
            hide_usage=not request.wants_usage,
            event_limit=event_limit,
            read_cost=read_cost,
            asked=fields,
        )
        self._request = request

    def whole(self, body: bytes) -> bytes:
        """Return a completion as one chunk, with its usage as another."""
        try:
            value = read_json(body)
            self.refusal = refusal_of(value, self._request)
        except BadReply:
            message = "the provider answered a streamed request with JSON that is not a completion"
            raise BadReply(message) from None
        if self.refusal is not None:
            return b""
        choices = [choice for choice in value["choices"] if isinstance(choice, dict)]
        out = self.feed(as_chunks({**value, "choices": choices}, is_chat=self._request.traits.is_chat))
        if self.refusal is None:
            self.content_seen = self.finished = self.done = True
        return out
