"""A gateway with a provider of each family that clients of the query gateway name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx

from tests.e2e.gateway_process import GatewayProcess, accepted
from tests.fakes.calls import Lane
from tests.fakes.script import Script
from tests.fakes.upstream import FakeUpstream

# By family: the model that stands for it, and the price book's name of its provider.
SERVED = {
    "openai": ("gpt-4o", "openai"),
    "gemini": ("gemini-2.5-flash", "google"),
    "mistral": ("mistral-large-latest", "mistral"),
    "claude": ("claude-sonnet-4-5", "anthropic"),
}
LEGACY_FIELDS = {
    "response", "model", "model_version", "original_model", "provider", "task_type", "num_tokens", "input_tokens",
    "output_tokens", "total_tokens", "token_source", "response_time_ms", "num_retries", "cached", "finish_reason",
    "timestamp", "request_id",
}  # fmt: skip
GATEWAY_FIELDS = LEGACY_FIELDS | {"tenant", "cost_usd", "unpriced", "cost_estimate", "metrics"}
ERROR_FIELDS = {"error", "error_type", "code", "param", "request_id"}


class QuerySetup:
    """A gateway, its providers, and a client with a key."""

    def __init__(self, folder: Path, fake: FakeUpstream, **settings: object) -> None:
        self.gateway = GatewayProcess(folder, **settings).start()
        self.fake = fake
        self._name = folder.name
        self._number = 0
        self.lanes: dict[str, Lane] = {}
        for family, (model, prices) in SERVED.items():
            lane = self.lanes[family] = self.fake.lane(f"{family}-{folder.name}")
            self.gateway.create_provider(
                family, lane.base_url, model_mapping={model: model}, price_provider=prices
            )
        self.key = self.gateway.create_credential("client")

    def provider(self, script: Script | None = None, **fields: Any) -> tuple[str, Lane]:
        """Add a provider that serves a model of its own; return the model and the lane."""
        self._number += 1
        name = f"own-{self._number}"
        lane = self.fake.lane(f"{name}-{self._name}")
        if script is not None:
            lane.default = script
        self.gateway.create_provider(name, lane.base_url, model_mapping={name: f"{name}-up"}, **fields)
        return name, lane

    def post(self, path: str, *, key: str | None = None, headers: Any = None, **body: Any) -> httpx.Response:
        """Send a body as JSON."""
        return self.gateway.post(path, key or self.key, json=body, headers=headers or {})

    def legacy(self, text: str, **fields: Any) -> dict[str, Any]:
        """Return the answer to a query."""
        return accepted(self.post("/api/query", query=text, **fields))

    def query(self, text: str, **fields: Any) -> dict[str, Any]:
        """Return the detailed answer to a query."""
        return accepted(self.post("/v1/gateway/query", query=text, **fields))

    def estimate(self, text: str, **fields: Any) -> dict[str, Any]:
        """Return a cost estimate."""
        return accepted(self.post("/v1/gateway/cost-estimate", query=text, **fields))

    def row(self, response: httpx.Response) -> dict[str, Any]:
        """Return the usage row of a response."""
        return self.gateway.usage_row(response.headers["x-request-id"])

    def close(self) -> None:
        """Stop the gateway, and look for faults that nobody dealt with. May be called again."""
        process = self.gateway.process
        if process is None or process.poll() is not None:
            return
        try:
            assert self.gateway.stop() == 0, self.gateway.log()
            assert self.gateway.distress() == [], self.gateway.log()
        finally:
            self.gateway.close()


def events_of(text: str) -> list[Any]:
    """Return the data of a stream's events, decoded."""
    data = [line.removeprefix("data: ") for line in text.split("\n\n") if line]
    return [one if one == "[DONE]" else json.loads(one) for one in data]
