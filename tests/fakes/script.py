"""What a test asks of the fake provider for one request, as a value that travels as JSON."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

# The top-level field of a request body that carries a script: `extra_body={"fake": script(...)}`.
FIELD = "fake"

BEFORE_HEAD = -1


class Tokens(msgspec.Struct, kw_only=True, frozen=True):
    """The usage that the fake reports."""

    prompt: int = 9
    completion: int = 4
    cached: int = 2
    reasoning: int = 1


class Tool(msgspec.Struct, kw_only=True, frozen=True):
    """One function call of the reply; `arguments` is a JSON text."""

    id: str
    name: str
    arguments: str


class Script(msgspec.Struct, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """How one request is answered; the defaults give OpenAI's own behaviour. Times are seconds."""

    delay: float = 0.0
    status: int = 200
    headers: dict[str, str] = {}

    # The body verbatim (base64 on the wire), instead of a made-up reply; and what Content-Length claims of it.
    body: bytes | None = None
    content_length: int | None = None
    content_type: str | None = None

    # What the made-up reply says. `text` None repeats the last message after the lane's name.
    text: str | None = None
    pieces: tuple[str, ...] = ()
    reasoning: tuple[str, ...] = ()
    tools: tuple[Tool, ...] = ()
    finish_reason: str | None = "stop"
    tokens: Tokens = Tokens()
    # `asked`: a chunk of its own if include_usage was sent; `always`: the same unasked;
    # `last`: on the chunk that carries the finish_reason; `none`: never.
    usage: Literal["asked", "always", "last", "none"] = "asked"
    # Provider-specific fields, added to the reply and to every chunk.
    extra: dict[str, Any] = {}
    # Answer a streamed request with plain JSON.
    ignore_stream: bool = False

    # The stream. `events` are whole `data:` payloads, verbatim, instead of made-up chunks.
    events: tuple[str, ...] | None = None
    # Sent before the first event: comments, `: ping`, blank lines.
    preamble: str = ""
    gap: float = 0.0
    # Bytes a write: 0 writes event by event, -1 the whole stream at once.
    split: int = 0
    split_gap: float = 0.0
    line_end: Literal["\n", "\r\n", "\r"] = "\n"
    done: bool = True
    # `close` ends the body by closing the connection. None: a stream is chunked, other replies have a length.
    framing: Literal["chunked", "close"] | None = None
    # Bytes before the head, such as an early hint, and fields after the last chunk.
    early: bytes = b""
    trailer: str = ""
    # Bytes that nobody asked for, a moment after the reply.
    late: bytes = b""

    # A fault, before the head (-1), after it (0), or after n events (of a unary body: n bytes).
    fault: Literal["none", "reset", "fin", "stall"] = "none"
    fault_at: int = BEFORE_HEAD


def script(**fields: Any) -> dict[str, Any]:
    """Return a script as JSON-ready values, for `extra_body={"fake": script(...)}`."""
    made: dict[str, Any] = msgspec.to_builtins(Script(**fields))
    return made


def error_body(
    message: str,
    *,
    kind: str = "invalid_request_error",
    code: str | None = None,
    param: str | None = None,
) -> bytes:
    """Return an error in OpenAI's shape."""
    return msgspec.json.encode({"error": {"message": message, "type": kind, "param": param, "code": code}})


_ERRORS = {
    400: (
        "Invalid value for 'temperature': 3 is over 2.",
        "invalid_request_error",
        "invalid_value",
        "temperature",
    ),
    401: ("Incorrect API key provided.", "invalid_request_error", "invalid_api_key", None),
    403: ("Your project may not use this model.", "invalid_request_error", "model_access_denied", None),
    404: ("The model does not exist.", "invalid_request_error", "model_not_found", "model"),
    409: ("The resource is being changed.", "invalid_request_error", "conflict", None),
    422: ("The request cannot be processed.", "invalid_request_error", "unprocessable", "messages"),
    429: ("Rate limit reached for requests.", "requests", "rate_limit_exceeded", None),
    500: ("The server had an error.", "server_error", None, None),
    503: ("The engine is overloaded.", "server_error", "overloaded", None),
}


def error_script(status: int, *, retry_after: str | None = None, **fields: Any) -> Script:
    """Return a script that refuses with `status` as OpenAI words it."""
    message, kind, code, param = _ERRORS[status]
    headers = {"retry-after": retry_after} if retry_after is not None else {}
    return Script(
        status=status,
        headers=headers,
        body=error_body(message, kind=kind, code=code, param=param),
        ignore_stream=True,
        **fields,
    )
