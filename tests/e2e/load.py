"""A bounded load of whole and streamed chats from this process, and what came of each request."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any

import httpx

from tests.e2e.conftest import Desk


class Outcome:
    """How one request went for its client; `finished` = the answer came to its clean end."""

    def __init__(self, stream: bool) -> None:
        self.stream = stream
        self.began = time.monotonic()
        self.status: int | None = None
        self.request_id: str | None = None
        self.finished = False
        self.text = ""


class Load(threading.Thread):
    """`clients` tasks that chat until `stop`, every other request streamed, in a thread of its own."""

    def __init__(
        self, desk: Desk, *, clients: int = 8, body: Callable[[bool], dict[str, Any]] | None = None
    ) -> None:
        super().__init__(daemon=True)
        self._url = desk.gateway.origin + "/v1/chat/completions"
        self._headers = {"authorization": f"Bearer {desk.key}"}
        self._body = body or (lambda stream: desk.body(stream=stream))
        self._clients = clients
        self._over = threading.Event()
        self.outcomes: list[Outcome] = []

    def run(self) -> None:
        asyncio.run(self._press())

    def stop(self) -> list[Outcome]:
        """End after the requests in flight, and return what came of all of them."""
        self._over.set()
        self.join(30)
        return self.outcomes

    def wait_for(self, count: int, seconds: float = 20.0) -> None:
        """Wait until `count` answers have come whole."""
        deadline = time.monotonic() + seconds
        while sum(outcome.finished for outcome in list(self.outcomes)) < count:
            assert time.monotonic() < deadline, f"not {count} answers within {seconds} s"
            time.sleep(0.005)

    async def _press(self) -> None:
        async with httpx.AsyncClient(trust_env=False, verify=False, timeout=20) as client:
            await asyncio.gather(*(self._one(client, number) for number in range(self._clients)))

    async def _one(self, client: httpx.AsyncClient, number: int) -> None:
        while not self._over.is_set():
            number += 1
            outcome = Outcome(stream=number % 2 == 0)
            self.outcomes.append(outcome)
            try:
                await self._ask(client, outcome)
            except httpx.HTTPError:
                await asyncio.sleep(0.01)

    async def _ask(self, client: httpx.AsyncClient, outcome: Outcome) -> None:
        body = self._body(outcome.stream)
        async with client.stream("POST", self._url, headers=self._headers, json=body) as answer:
            outcome.status = answer.status_code
            outcome.request_id = answer.headers["x-request-id"]
            async for part in answer.aiter_text():
                outcome.text += part
        if outcome.stream:
            outcome.finished = outcome.status == 200 and outcome.text.rstrip().endswith("data: [DONE]")
        else:
            outcome.finished = outcome.status == 200
