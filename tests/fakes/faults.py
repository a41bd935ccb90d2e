"""What a provider can do wrong, and when, each as one value: its name travels as the model of a request."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from typing import Any, NamedTuple

import msgspec

from tests.fakes import openai_wire, responses_wire
from tests.fakes.script import Script, error_body

TEXT = "Grüße an 世界 und 🌍 zugleich"
BIG = 10 * 1024 * 1024
HUGE = 100 * 1024 * 1024
PATHS = {"chat": "/v1/chat/completions", "responses": "/v1/responses", "unary": "/v1/chat/completions"}

# How far the answer came. A ping is a comment, as servers send them to keep a connection warm.
STREAM_PHASES = (
    "before_headers", "after_headers", "after_ping", "after_role", "mid_content", "after_usage",
    "after_finish", "before_done",
)  # fmt: skip
RESPONSES_PHASES = ("before_headers", "after_headers", "after_role", "mid_content", "before_done")
UNARY_PHASES = ("before_headers", "after_headers", "mid_body")
# Nothing of these is content: until then another provider can answer.
BEFORE_CONTENT = frozenset({"before_headers", "after_headers", "after_ping", "after_role"})

PING = b": ping\n\n"
MALFORMED = b'data: {"choices":[{"index":0,"delta":{"content":"broken of\n\n'
NOT_JSON = b"data: {no json at all}\n\n"
ERROR_EVENT = b"data: " + error_body("The engine died.", kind="server_error", code="engine_died") + b"\n\n"
ERROR_REASON = b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"error"}]}\n\n'
FAILED_EVENT = (
    b"event: error\ndata: "
    + msgspec.json.encode(
        {"type": "error", "code": "engine_died", "message": "The engine died.", "param": None}
    )
    + b"\n\n"
)


class Case(NamedTuple):
    """One fault at one moment; `hold` = `let_go` when the client is to have what came before it.

    `surface` says what the provider is asked for, `dialect` in which API the client asks for it.
    """

    fault: str
    phase: str
    framing: str
    surface: str = "chat"
    hold: str = "held"
    dialect: str = "openai"

    @property
    def name(self) -> str:
        """Return the model name that asks for this case."""
        return ".".join(self)

    @classmethod
    def named(cls, name: str) -> Case:
        """Return the case of a name."""
        return cls(*name.split("."))

    @property
    def committed(self) -> bool:
        """Tell whether the client has a part of the answer when the fault comes."""
        if self.surface == "unary" or self.phase == "after_ping":
            # Comments are left out, so that they commit to nothing.
            return False
        return self.phase not in BEFORE_CONTENT or self.hold == "let_go"


def healthy(case: Case) -> list[bytes]:
    """Return the events of the whole answer, or a unary one's body, as every provider here gives it."""
    big = case.fault in {"big_event", "big_body"}
    plan = Script(text=TEXT) if not big else Script(pieces=("q" * BIG,))
    request = {"model": case.name, "stream_options": {"include_usage": True}}
    if case.surface == "unary":
        return [msgspec.json.encode(openai_wire.chat_completion(1, plan, request, ""))]
    if case.surface == "responses":
        return [
            f"event: {event['type']}\ndata: ".encode() + _json(event) + b"\n\n"
            for event in responses_wire.response_events(1, plan, request, "")
        ]
    chunks = openai_wire.chat_chunks(1, plan, request, "")
    return [b"data: " + _json(chunk) + b"\n\n" for chunk in chunks] + [b"data: [DONE]\n\n"]


def before(case: Case) -> list[bytes]:
    """Return the events that come before the fault of a streamed case."""
    events = healthy(case)
    if case.surface == "responses":
        deltas = [index for index, event in enumerate(events) if b".delta" in event]
        count = {"after_role": deltas[0], "mid_content": deltas[2], "before_done": -1}.get(case.phase, 0)
        return events[:count]
    ends = {"after_role": 1, "mid_content": 4, "after_finish": -2, "before_done": -1}
    if case.phase == "after_ping":
        return [PING]
    if case.phase == "after_usage":
        # Before the finish reason, as from servers that tell the usage so far.
        return [*events[:4], events[-2]]
    return events[: ends.get(case.phase, 0)]


def text_before(case: Case) -> str:
    """Return the text that came before the fault of a streamed chat."""
    chunks = (json.loads(event[6:]) for event in before(case) if event.startswith(b"data: {"))
    return "".join(choice["delta"].get("content") or "" for chunk in chunks for choice in chunk["choices"])


def rewritten(case: Case) -> bytes:
    """Return the whole answer of a case whose fault is how it is written."""
    body = b"".join(healthy(case))
    if case.fault == "crlf":
        return body.replace(b"\n", b"\r\n")
    if case.fault == "cr":
        return body.replace(b"\n", b"\r")
    if case.fault.startswith("gzip"):
        return gzip.compress(body, mtime=0)
    return body


def pieces(case: Case, body: bytes) -> Iterator[bytes]:
    """Cut a body into the pieces it is sent in."""
    if case.fault == "drip":
        yield from (body[at : at + 1] for at in range(len(body)))
    elif case.fault == "split_utf8":
        # Behind every first byte of a character that has several.
        start = 0
        for at, byte in enumerate(body):
            if byte >= 0xC0:
                yield body[start : at + 1]
                start = at + 1
        yield body[start:]
    else:
        yield body


def _json(value: dict[str, Any]) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
