"""How the stream of a chat ends for the client, whichever dialect it came in."""

from __future__ import annotations

from llm_gateway.core.errors import GatewayError, openai_error
from llm_gateway.core.sse import DONE


class ChatEnding:
    """The part of ReplyStream that all chats share."""

    __slots__ = ()

    ending = DONE

    def failure(self, error: GatewayError) -> bytes:
        """Return an error event; no [DONE] follows it."""
        return b"data: " + openai_error(error) + b"\n\n"
