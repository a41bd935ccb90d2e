"""What tests of the agents' API share: the secret, the paths, an agent's request, and checks of answers."""

from __future__ import annotations

import json
from typing import Any

import httpx

from tests.e2e.conftest import AGENTS_SECRET, Desk
from tests.e2e.gateway_process import GatewayProcess, accepted

SECRET = AGENTS_SECRET
PROXY, MODELS, USAGE = "/internal/llm/proxy", "/internal/llm/models", "/internal/llm/usage"
HEADERS = {"X-Internal-Secret": SECRET}


def agent(desk: Desk, name: str = "sofia") -> str:
    """Return an agent that no other test uses."""
    return f"agent:{name}-{desk.number}"


def ask(
    desk: Desk, of: str | None = "sofia", headers: dict[str, str] = HEADERS, **fields: Any
) -> httpx.Response:
    """Send a request of an agent, None for one of nobody."""
    metadata = {} if of is None else {"metadata": {"agent_id": agent(desk, of)}}
    return desk.gateway.http.post(PROXY, headers=headers, json=desk.body(**metadata) | fields)


def usage(gateway: GatewayProcess, **asked: str) -> dict[str, Any]:
    return accepted(gateway.http.get(USAGE, params=asked, headers=HEADERS))


def events(response: httpx.Response) -> list[Any]:
    """Return the data of a stream's events; [DONE] as it is."""
    assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
    parts = response.text.removesuffix("\n\n").split("\n\n")
    data = [part.removeprefix("data: ") for part in parts]
    return [one if one == "[DONE]" else json.loads(one) for one in data]


def refused(
    response: httpx.Response, status: int, code: str, param: str | None = None, kind: str | None = None
) -> str:
    """Check an error field by field, and return its sentence."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/json"
    body = response.json()
    assert body.keys() == {"detail", "error"}
    assert body["error"].keys() == {"type", "code", "param", "request_id"}
    assert (body["error"]["code"], body["error"]["param"]) == (code, param)
    assert body["error"]["request_id"] == response.headers["x-request-id"]
    if kind is None:
        detail: str = body["detail"]
        return detail
    (fault,) = body["detail"]
    assert fault.keys() == {"loc", "msg", "type"}
    assert fault["type"] == kind
    text: str = fault["msg"]
    return text
