"""What the fake provider remembers of each request, and how a test waits for it."""

from __future__ import annotations

import base64
import json
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from tests.fakes.script import Script

PATIENCE = 10.0


class Call:
    """One request as it arrived, and how its answer went; times are Unix seconds."""

    def __init__(
        self, number: int, lane: str, method: str, path: str, headers: list[tuple[str, str]]
    ) -> None:
        """Note the head; `headers` have lower-case names, in the order they came."""
        self.number = number
        self.lane = lane
        self.method = method
        self.path = path
        self.headers = headers
        self.body = b""
        self.at = time.time()
        # The body as it was sent, without its framing.
        self.sent = bytearray()
        self.finished = False
        # The caller hung up before the answer's end, and when.
        self.left_at: float | None = None

    def header(self, name: str) -> str | None:
        """Return the first header of that name."""
        return next((value for key, value in self.headers if key == name), None)

    @property
    def json(self) -> Any:
        """Return the body decoded."""
        return json.loads(self.body)

    @property
    def left(self) -> bool:
        """Tell whether the caller hung up before the answer's end."""
        return self.left_at is not None

    def to_builtins(self) -> dict[str, Any]:
        """Return everything as JSON-ready values; bytes as base64."""
        return {
            "number": self.number,
            "lane": self.lane,
            "method": self.method,
            "path": self.path,
            "headers": self.headers,
            "body": base64.b64encode(self.body).decode(),
            "at": self.at,
            "sent": base64.b64encode(bytes(self.sent)).decode(),
            "finished": self.finished,
            "left": self.left,
            "left_at": self.left_at,
        }


class Lane:
    """One provider of the fake: a path prefix with its own scripts, models and calls."""

    def __init__(self, name: str, origin: str, changed: threading.Condition) -> None:
        """Make the lane that answers under `origin/name`."""
        self.name = name
        self.base_url = f"{origin}/{name}/v1"
        # Used once each, before a request's own script, which comes before `default`.
        self.next: deque[Script] = deque()
        self.default = Script()
        self.models: tuple[str, ...] = ("fake-model",)
        # Rules `GET models`, so that a health check can be made to fail.
        self.models_script: Script | None = None
        self.calls: list[Call] = []
        self._changed = changed

    def take(self, asked: Script | None) -> Script:
        """Return the script for one request."""
        if self.next:
            return self.next.popleft()
        return asked if asked is not None else self.default

    @property
    def chats(self) -> list[Call]:
        """Return the calls that ask for a completion: no model lists, no health checks."""
        return [call for call in list(self.calls) if call.method == "POST"]

    @property
    def last(self) -> Call:
        """Return the latest completion call."""
        return self.chats[-1]

    def wait(self, ready: Callable[[list[Call]], bool], patience: float = PATIENCE) -> list[Call]:
        """Block until `ready(chats)` holds, and return the chats; AssertionError after `patience` seconds."""
        with self._changed:
            if not self._changed.wait_for(lambda: ready(self.chats), patience):
                seen = [(call.number, call.path, call.finished, call.left) for call in self.chats]
                raise AssertionError(f"lane {self.name}: not within {patience} s; calls: {seen}")
            return self.chats
