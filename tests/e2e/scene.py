"""A gateway with providers of all sorts, and a load of known size: what Prometheus shows must equal it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import httpx

from tests.e2e.conftest import Desk
from tests.e2e.gateway_process import GatewayProcess, accepted, eventually
from tests.fakes.script import error_script
from tests.fakes.upstream import FakeUpstream

PATH = "/v1/chat/completions"


@dataclass(frozen=True)
class Load:
    """What one load sent, by its usage rows: Prometheus must show the same."""

    rows: list[dict[str, Any]]
    # Of the requests with a failed attempt, which are read one by one.
    failed_attempts: list[dict[str, Any]] = field(default_factory=list)
    # Requests by what the reply says of the cache.
    cache: Counter[str] = field(default_factory=Counter)

    def count(self, *names: str, where: Callable[[dict[str, Any]], bool] = lambda _: True) -> Counter[Any]:
        """Return the number of requests by the values of these columns; refused ones may share a row."""
        counts: Counter[Any] = Counter()
        for row in filter(where, self.rows):
            counts[tuple(row[name] for name in names)] += row["requests"]
        return counts


def called(row: dict[str, Any]) -> bool:
    """Tell whether a provider was asked; a reply from the cache names the one that once gave it."""
    return row["provider"] is not None and not row["cache_hit"]


class Scene:
    """A gateway with a good provider, one that fails over, one that fails for good, and one with prices."""

    def __init__(self, gateway: GatewayProcess, fake: FakeUpstream) -> None:
        self.gateway = gateway
        self.desk = desk = Desk(gateway, fake)
        self.good = desk.provider("good")
        # Breakers would make the load depend on time.
        self.broken = desk.failing(error_script(500), "broken", model_mapping={"broken": "up"})
        self.priced = desk.provider("priced", model_mapping={"gpt-4o": "gpt-4o"}, price_provider="openai")
        # Each failover needs a first provider that fails; it fails too rarely for a breaker to open.
        self.flaky = desk.provider("flaky", model_mapping={"flaky": "up"}, weight=1_000_000)
        desk.provider("second", model_mapping={"flaky": "up"})
        self._sent = 0
        self._cache: Counter[str] = Counter()
        # A connection for each request, so that both workers get some of them.
        limits = httpx.Limits(max_keepalive_connections=0)
        self._http = httpx.Client(
            base_url=gateway.origin, limits=limits, trust_env=False, verify=False, timeout=15
        )

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def send(self) -> Load:
        """Send the load once, and return its rows."""
        before = {row["request_id"] for row in self.rows()}
        self._cache = Counter()
        self.ask()
        rows = eventually(self.rows, lambda found: sum(row["requests"] for row in found) == self._sent)
        rows = [row for row in rows if row["request_id"] not in before]
        return Load(rows, self._failed_attempts(rows), self._cache)

    def ask(self) -> None:
        """Send the requests of a load."""
        for number in range(20):
            self.chat(200, stream=bool(number % 2))
            self.chat(200, model="gpt-4o")
            if number % 5 == 0:
                self.flaky.next.append(error_script(500))
            self.chat(200, model="flaky")
        self.chat(502, model="broken")
        for number in range(5):
            self.chat(404, model=f"nobody-{number}")

    def chat(self, status: int | None, key: str | None = None, cache: str = "", **fields: Any) -> int:
        """Send one request, which must have this status; `cache` is what it asks of the cache."""
        headers = {"authorization": f"Bearer {key or self.desk.key}"}
        if cache:
            headers["x-llm-gateway-cache"] = cache
        answer = self._http.post(PATH, headers=headers, json=self.desk.body(**fields))
        assert status in {None, answer.status_code}, answer.text
        self._sent += 1
        if "x-llm-gateway-cache" in answer.headers:
            self._cache[answer.headers["x-llm-gateway-cache"]] += 1
        return answer.status_code

    def rows(self) -> list[dict[str, Any]]:
        """Return the usage rows of all loads."""
        return self.gateway.usage_rows(limit=1000)

    def _failed_attempts(self, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        tried = [row["request_id"] for row in rows if row["attempts"] > 1 or row["outcome"] == "error"]
        details = (accepted(self.gateway.admin.get(f"/usage/{one}"))["attempt_details"] for one in tried)
        # A stream that breaks after its first content has no next step, and counts as a broken stream alone.
        return [attempt for attempts in details for attempt in attempts if attempt["next_step"]]
