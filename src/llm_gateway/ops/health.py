"""Health endpoints: liveness, readiness, and the health of each provider."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from llm_gateway import __version__
from llm_gateway.flow.gateway import Gateway
from llm_gateway.flow.provider_checks.probes import Prober, probe_fields
from llm_gateway.flow.routing.deployment_state import DeploymentState
from llm_gateway.http.dispatcher import RouteTable
from llm_gateway.http.model_routes.responding import send_json
from llm_gateway.http.types import Receive, Scope, Send
from llm_gateway.ops.shared_work import SharedWork

_OK, _UNAVAILABLE = 200, 503
# A wildcard provider may have any number of models: at most this many are listed.
_MAX_BREAKERS = 100
# Seconds. Most of the time goes into waiting for providers, so a short pause is enough.
_DETAILS_PAUSE = 0.1


def health_routes(
    gateway: Gateway,
    prober: Prober,
    details: Callable[[], dict[str, Any]],
    database_problem: Callable[[], str | None] = lambda: None,
) -> RouteTable:
    """Return /, /health, /health/ready and /health/detailed; the last includes `details`.

    `details` may have `problems`: sentences, to which those of providers and of the configuration are added.
    `database_problem` says why the database is not used any more, None if it is; requests go on meanwhile.
    """
    alive = msgspec.json.encode({"status": "ok"})
    greeting = msgspec.json.encode({"name": "llm-gateway", "openai": "/v1", "documentation": "/docs"})

    async def root(scope: Scope, receive: Receive, send: Send, request_id: str) -> None:
        del scope, receive
        await send_json(send, greeting, request_id)

    async def health(scope: Scope, receive: Receive, send: Send, request_id: str) -> None:
        del scope, receive
        await send_json(send, alive, request_id)

    async def ready(scope: Scope, receive: Receive, send: Send, request_id: str) -> None:
        del scope, receive
        reason = not_ready(gateway)
        body: dict[str, Any] = {"status": "ready"}
        if reason is not None:
            body = {"status": "not ready", "reason": reason}
        elif gateway.snapshots.current is not None and gateway.snapshots.current.faults:
            body["faults"] = [str(fault) for fault in gateway.snapshots.current.faults]
        if reason is None and (problem := database_problem()) is not None:
            body["database"] = problem
        status = _OK if reason is None else _UNAVAILABLE
        await send_json(send, msgspec.json.encode(body), request_id, status=status)

    async def look() -> tuple[int, bytes]:
        reason = not_ready(gateway)
        snapshot = gateway.snapshots.current
        probes = await prober.probe_all(snapshot) if snapshot is not None else {}
        shown = details()
        problem = database_problem()
        problems = [
            *((f"The gateway accepts no requests: {reason}.",) if reason is not None else ()),
            *((problem,) if problem is not None else ()),
            *(
                f"Provider {name!r} is unhealthy."
                for name, probe in probes.items()
                if probe.status != "healthy"
            ),
            *(str(fault) for fault in (snapshot.faults if snapshot is not None else ())),
            *shown.pop("problems", ()),
        ]
        status = "unavailable" if reason is not None else "degraded" if problems else "healthy"
        body = {
            "status": status,
            "version": __version__,
            "problems": problems,
            **({"reason": reason} if reason is not None else {}),
            **({"database": problem} if problem is not None else {}),
            **shown,
            "providers": {name: probe_fields(probe) for name, probe in probes.items()},
            "breakers": _breakers(gateway),
        }
        return _OK if reason is None else _UNAVAILABLE, msgspec.json.encode(body)

    details_for_all = SharedWork(look, longest_pause=_DETAILS_PAUSE)

    async def detailed(scope: Scope, receive: Receive, send: Send, request_id: str) -> None:
        del scope, receive
        code, body = await details_for_all.get()
        await send_json(send, body, request_id, status=code)

    return RouteTable(
        exact={
            ("GET", "/"): root,
            ("GET", "/health"): health,
            ("GET", "/health/ready"): ready,
            ("GET", "/health/detailed"): detailed,
        }
    )


def not_ready(gateway: Gateway) -> str | None:
    """Return why this process accepts no requests; None if it does."""
    if gateway.lifecycle.draining:
        return "shutting down"
    if gateway.snapshots.current is None:
        return "no configuration yet"
    return None


def health_paths() -> dict[str, Any]:
    """Return the operations part of the OpenAPI document."""

    def operation(summary: str, *, may_fail: bool = False) -> dict[str, Any]:
        responses = {"200": {"description": "Success."}}
        if may_fail:
            responses["503"] = {"description": "The gateway accepts no requests now; the body says why."}
        return {"get": {"tags": ["Operations"], "summary": summary, "responses": responses}}

    return {
        "/": operation("The name of this service, for clients that check the base URL"),
        "/health": operation("Liveness: the process runs"),
        "/health/ready": operation("Readiness: the gateway accepts requests", may_fail=True),
        "/health/detailed": operation("Probe every enabled provider", may_fail=True),
        "/metrics": operation(
            "Metrics in the Prometheus text format; a JSON summary with Accept: application/json"
        ),
    }


def _breakers(gateway: Gateway) -> dict[str, Any]:
    """Return the open and half-open breakers of this process, by provider."""
    now = gateway.clock.monotonic()
    open_breakers = gateway.selector.open_breakers()
    return {
        name: [_breaker(state, now) for state in states[:_MAX_BREAKERS]]
        for name, states in open_breakers.items()
    }


def _breaker(state: DeploymentState, now: float) -> dict[str, Any]:
    return {
        "upstream_model": state.upstream_model,
        "state": state.breaker.state(now),
        "trial_in": round(state.breaker.trial_in(now), 3),
    }
