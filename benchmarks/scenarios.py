"""The loads: the request, the number of connections, and the unit that the cost is divided by."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Literal

# Microseconds between two chunks of one paced stream.
PACE_US = 50_000
# Chunks of one paced stream.
PACED_CHUNKS = 50


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """One load; `model` is the public name that selects the fake provider's behaviour."""

    name: str
    title: str
    model: str
    connections: int = 32
    stream: bool = False
    # Bytes of text in the request's last message.
    text_bytes: int = 200
    unit: Literal["request", "chunk"] = "request"
    # A paced stream lasts seconds, so whole streams need a longer window.
    least_seconds: float = 0.0
    # Streams begin over the first half of the warm-up: evenly over one stream's length, if that is as long.
    least_warm: float = 0.0
    # Also run against the provider directly, to compute the time that the target adds.
    compared: bool = False

    @property
    def shows_memory(self) -> bool:
        """Whether the memory of an open stream is measured under this load."""
        return self.compared and self.stream

    def chunks_due(self, connections: int) -> float | None:
        """Return the chunks per second that the provider sends in total; None if it sends at full speed."""
        return connections * 1e6 / PACE_US if self.unit == "chunk" else None

    def request(self, headers: dict[str, str]) -> bytes:
        """Return the bytes of the HTTP request."""
        body: dict[str, Any] = {
            "model": self.model,
            "messages": [
                {"role": "system", "content": "You are a helpful assistant."},
                {"role": "user", "content": "x" * self.text_bytes},
            ],
            "temperature": 0.7,
        }
        if self.stream:
            body["stream"] = True
        content = json.dumps(body).encode()
        lines = ["POST /v1/chat/completions HTTP/1.1", "host: 127.0.0.1", "content-type: application/json"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        lines += [f"content-length: {len(content)}", "", ""]
        return "\r\n".join(lines).encode() + content


SCENARIOS = (
    Scenario(name="unary", title="unary, 400-byte reply", model="unary-bench"),
    Scenario(name="burst", title="stream of 50 chunks, sent at once", model="burst-bench", stream=True),
    Scenario(
        name="paced",
        title="paced streams, 500 open",
        model="paced-bench",
        stream=True,
        connections=500,
        unit="chunk",
        least_seconds=5.0,
    ),
    Scenario(name="big", title="unary, 60 KB request", model="unary-bench", text_bytes=60_000),
    Scenario(name="alone", title="unary, 1 connection", model="unary-bench", connections=1, compared=True),
    Scenario(
        name="held",
        title="paced streams, 1,000 open",
        model="paced-bench",
        stream=True,
        connections=1000,
        unit="chunk",
        least_seconds=5.0,
        least_warm=2 * PACED_CHUNKS * PACE_US / 1e6,
        compared=True,
    ),
)
# Public name to upstream name, whose first letter tells the fake provider what to send.
MODELS = {"unary-bench": "unary", "burst-bench": "burst", "paced-bench": "paced"}
