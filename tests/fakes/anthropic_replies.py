"""Builds replies and stream events of the Messages API, and parses what the gateway makes of them."""

from __future__ import annotations

import json
from typing import Any

from tests.fakes.anthropic_wire import chat

# A streamed chat, and a streamed legacy completion.
ASKED = chat({"messages": [], "stream": True})
LEGACY = chat({"prompt": "x", "stream": True}, endpoint="completions")


def message(*content: dict[str, Any], **fields: Any) -> bytes:
    """Return a unary reply with these blocks."""
    usage = {"input_tokens": 3, "output_tokens": 2}
    body = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude",
        "content": list(content),
    }
    return json.dumps(body | {"stop_reason": "end_turn", "usage": usage} | fields).encode()


def event(kind: str, **fields: Any) -> bytes:
    """Return one event of a stream."""
    return f"event: {kind}\ndata: {json.dumps({'type': kind} | fields)}\n\n".encode()


def chunks(out: bytes) -> list[dict[str, Any]]:
    """Parse the chunks of a translated stream."""
    return [json.loads(part[6:]) for part in out.split(b"\n\n") if part.startswith(b"data: ")]


START = event("message_start", message={"id": "msg_1", "model": "claude", "usage": {"input_tokens": 3}})
TEXT = event("content_block_start", index=0, content_block={"type": "text", "text": ""})
HELLO = event("content_block_delta", index=0, delta={"type": "text_delta", "text": "Hello"})
STOP = event("content_block_stop", index=0)
DELTA = event("message_delta", delta={"stop_reason": "end_turn"}, usage={"output_tokens": 2})
END = event("message_stop")
