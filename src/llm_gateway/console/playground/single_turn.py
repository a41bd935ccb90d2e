"""Asks a chat's handler within the process, and reads its whole answer."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from starlette.requests import Request

from llm_gateway.http.model_routes.data_plane import Handler
from llm_gateway.http.types import Message, request_id_of


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownReply:
    """What a page shows of a whole reply."""

    status: int
    text: str = ""
    reasoning: str = ""
    # As JSON, "" without any.
    tool_calls: str = ""
    finish_reason: str | None = None
    # Why there is no answer; None if there is one.
    problem: str | None = None


@dataclass(slots=True)
class _Reply:
    """Takes a response as ASGI sends it."""

    status: int = 0
    parts: list[bytes] = field(default_factory=list)

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
        else:
            self.parts.append(message.get("body", b""))


async def ask(handler: Handler, request: Request, body: bytes, headers: Mapping[str, str]) -> ShownReply:
    """Send `body`, which must not ask for a stream, in place of the request's own."""
    sent = {"content-type": "application/json", "content-length": str(len(body)), **headers}
    scope = {
        **request.scope,
        "headers": [
            *(pair for pair in request.scope["headers"] if pair[0] == b"x-forwarded-for"),
            *((name.encode(), value.encode()) for name, value in sent.items()),
        ],
        # The server's own has the body of the form.
        "extensions": {},
    }
    reply = _Reply()

    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    await handler(scope, receive, reply.send, request_id_of(request.scope))
    return read_answer(reply.status, b"".join(reply.parts))


def read_answer(status: int, body: bytes) -> ShownReply:
    """Return what is in a reply, or in an error; neither needs to be as OpenAI documents it."""
    try:
        reply = json.loads(body)
    except (ValueError, RecursionError):
        reply = None
    if status >= 400 or not isinstance(reply, dict):
        message = _text(_at(reply, "error", "message"))
        return ShownReply(
            status=status, problem=message or f"The gateway answered {status}, and nothing else."
        )
    choice = _at(reply, "choices", 0)
    message = _at(choice, "message")
    calls = _at(message, "tool_calls")
    return ShownReply(
        status=status,
        text=_text(_at(message, "content")) or _text(_at(message, "refusal")),
        reasoning=_text(_at(message, "reasoning_content")) or _text(_at(message, "reasoning")),
        tool_calls=json.dumps(calls, indent=2, ensure_ascii=False) if calls else "",
        finish_reason=_text(_at(choice, "finish_reason")) or None,
    )


def _at(value: Any, *path: str | int) -> Any:  # noqa: ANN401 - JSON
    for step in path:
        if isinstance(value, dict) and isinstance(step, str):
            value = value.get(step)
        elif isinstance(value, list) and isinstance(step, int) and step < len(value):
            value = value[step]
        else:
            return None
    return value


def _text(value: Any) -> str:  # noqa: ANN401 - JSON
    return value if isinstance(value, str) else ""
