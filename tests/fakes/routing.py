"""Snapshots, plans and replies for tests of routing."""

from __future__ import annotations

from typing import Any

import msgspec

from llm_gateway.core.config.accounts import ANONYMOUS
from llm_gateway.core.config.catalog import Catalog
from llm_gateway.core.config.credentials import Credential
from llm_gateway.core.config.models import Model
from llm_gateway.core.config.prices import PriceOverride
from llm_gateway.core.config.providers import Kind, Provider
from llm_gateway.core.config.snapshot import Principal, Snapshot, build_snapshot
from llm_gateway.core.config.task_types import TaskType
from llm_gateway.core.endpoints import EndpointName
from llm_gateway.core.model_request import ModelRequest
from llm_gateway.core.pricing.price_book import PriceBook
from llm_gateway.flow.routing.plan import Plan, find_route, make_plan
from llm_gateway.flow.routing.selector import Candidate, Selector
from llm_gateway.providers.registry import KINDS
from tests.fakes.in_memory import FakeReply, credential, provider

WHOLE = msgspec.json.encode(
    {
        "object": "chat.completion",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hi"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 1, "total_tokens": 4},
    }
)
HELLO = b'data: {"choices":[{"index":0,"delta":{"content":"Hello you"},"finish_reason":null}]}\n\n'
STOP = b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
DONE = b"data: [DONE]\n\n"


def whole(*_: object) -> FakeReply:
    return FakeReply(WHOLE)


def refusing(status: int, *, code: str | None = None, retry_after: str | None = None) -> Any:
    """Return an answer that refuses every time anew."""
    body = msgspec.json.encode({"error": {"message": "No", "type": "t", "code": code, "param": None}})
    headers = {} if retry_after is None else {"retry-after": retry_after}
    return lambda _: FakeReply(body, status=status, headers=headers)


def snapshot_of(
    *providers: Provider,
    models: tuple[Model, ...] = (),
    tasks: tuple[TaskType, ...] = (),
    credentials: tuple[Credential, ...] = (),
    kinds: dict[str, Kind] | None = None,
    overrides: tuple[PriceOverride, ...] = (),
    prices: PriceBook | None = None,
) -> Snapshot:
    catalog = Catalog(
        version=1,
        providers=providers,
        credentials=credentials,
        models=models,
        task_types=tasks,
        prices=overrides,
    )
    return build_snapshot(catalog, KINDS if kinds is None else kinds, prices)


def weighted(weights: dict[str, int], **fields: Any) -> tuple[Provider, ...]:
    """Return a provider for each name, all of which serve `m`."""
    mapping = {"model_mapping": {"m": "up"}}
    return tuple(
        provider(key, number, weight=weight, **(mapping | fields))
        for number, (key, weight) in enumerate(weights.items(), 1)
    )


def model(name: str = "m", **fields: Any) -> Model:
    return Model(id=1, name=name, **fields)


def account_for(*allowed: str) -> Principal:
    return Principal(credential(allowed_models=allowed))


def plan_for(
    selector: Selector,
    snapshot: Snapshot,
    name: str = "m",
    *,
    account: Principal = ANONYMOUS,
    endpoint: EndpointName = "chat/completions",
    headers: tuple[tuple[bytes, bytes], ...] = (),
    created: int = 0,
    **fields: Any,
) -> Plan:
    raw = {key: msgspec.Raw(msgspec.json.encode(value)) for key, value in fields.items()}
    request = ModelRequest(
        endpoint=endpoint, model=name, stream=False, wants_usage=False, fields=raw, created=created
    )
    return make_plan(selector, snapshot, account, find_route(snapshot, name), request, headers)


def order_of(plan: Plan, now: float = 0.0) -> list[Candidate]:
    """Return all candidates in the order in which they are tried when each fails."""
    found = []
    candidate: Candidate | None = plan.first(now)
    while candidate is not None:
        found.append(candidate)
        plan.exclude(candidate)
        candidate = plan.next(now)
    return found


def keys_of(plan: Plan, now: float = 0.0) -> list[str]:
    return [candidate.deployment.provider_key for candidate in order_of(plan, now)]


def trip(
    selector: Selector,
    snapshot: Snapshot,
    *keys: str,
    name: str = "m",
    now: float = 0.0,
    retry_after: float | None = None,
) -> None:
    """Open the breakers of these providers for a route."""
    _, candidate_set = selector.look_up(find_route(snapshot, name), snapshot)
    for candidate in candidate_set.candidates:
        while candidate.deployment.provider_key in keys and candidate.breaker.closed:
            candidate.state.admit(now).failed(now, retry_after)
