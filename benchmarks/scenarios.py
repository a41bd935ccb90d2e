"""The loads that are measured: what is asked, over how many connections, and what the cost is divided by."""

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
    """One load; `model` is the public name that the fake provider's behaviour hangs on."""

    name: str
    title: str
    model: str
    connections: int = 32
    stream: bool = False
    # Bytes of text in the request's last message.
    text_bytes: int = 200
    unit: Literal["request", "chunk"] = "request"
    # A paced stream lasts seconds: it takes a longer window to see whole ones.
    least_seconds: float = 0.0
    # Streams begin over the first half of the time before: evenly over one stream's length, if that is as long.
    least_warm: float = 0.0
    # Put on the provider itself, too, so that the part of the time which the target added can be told.
    compared: bool = False

    def chunks_due(self, connections: int) -> float | None:
        """Return how many chunks a second the provider sends in all; None for what comes as fast as it can."""
        return connections * 1e6 / PACE_US if self.unit == "chunk" else None

    def request(self, headers: dict[str, str]) -> bytes:
        """Return the HTTP request as it goes over the wire."""
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
# Public name to the name that tells the fake provider what to send.
MODELS = {"unary-bench": "unary", "burst-bench": "burst", "paced-bench": "paced"}
