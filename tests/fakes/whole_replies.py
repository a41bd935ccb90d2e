"""Reads JSON that answered a streamed request, as the flow does."""

from __future__ import annotations

from llm_gateway.core.ledger.usage import StatedUsage, Usage
from llm_gateway.core.model_request import ModelRequest
from llm_gateway.providers.base import Adapter


def read_whole_reply(
    adapter: Adapter, body: bytes, asked: ModelRequest
) -> tuple[bytes, Usage | StatedUsage | None]:
    """Return the events for the client, and the usage; raise BadReply. The reader is done, or has a refusal."""
    reader = adapter.stream(asked, event_limit=1 << 20)
    events = reader.whole(body)
    assert reader.done is (reader.refusal is None)
    assert not reader.done or (reader.content_seen and reader.finished)
    return events, reader.usage
