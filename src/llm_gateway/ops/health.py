"""Health endpoints: liveness, readiness, and the health of each provider."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import msgspec

from llm_gateway import __version__
from llm_gateway.flow.gateway import Gateway
from llm_gateway.flow.provider_checks.probes import Probe, Prober
from llm_gateway.flow.routing.deployment_state import DeploymentState
from llm_gateway.http.dispatcher import RouteTable
from llm_gateway.http.responding import send_json
from llm_gateway.http.types import Receive, Scope, Send

_OK, _UNAVAILABLE = 200, 503
# A wildcard provider may have any number of models: at most this many are listed.
_MAX_BREAKERS = 100


def health_routes(gateway: Gateway, prober: Prober, details: Callable[[], dict[str, Any]]) -> RouteTable:
    """Return /health, /health/ready and /health/detailed; the last includes `details`."""
    alive = msgspec.json.encode({"status": "ok"})

    async def health(scope: Scope, receive: Receive, send: Send, request_id: str) -> None:
        del scope, receive
        await send_json(send, alive, request_id)

    async def ready(scope: Scope, receive: Receive, send: Send, request_id: str) -> None:
        del scope, receive
        reason = not_ready(gateway)
        body = {"status": "ready"} if reason is None else {"status": "not ready", "reason": reason}
        status = _OK if reason is None else _UNAVAILABLE
        await send_json(send, msgspec.json.encode(body), request_id, status=status)

    async def detailed(scope: Scope, receive: Receive, send: Send, request_id: str) -> None:
        del scope, receive
        reason = not_ready(gateway)
        snapshot = gateway.snapshots.current
        probes = await prober.probe_all(snapshot) if snapshot is not None else {}
        unhealthy = [name for name, probe in probes.items() if probe.status != "healthy"]
        status = "unavailable" if reason is not None else "degraded" if unhealthy else "healthy"
        body = {
            "status": status,
            "version": __version__,
            **({"reason": reason} if reason is not None else {}),
            **details(),
            "providers": {name: _probe_result(probe) for name, probe in probes.items()},
            "breakers": _breakers(gateway),
        }
        code = _OK if reason is None else _UNAVAILABLE
        await send_json(send, msgspec.json.encode(body), request_id, status=code)

    return RouteTable(
        exact={
            ("GET", "/health"): health,
            ("HEAD", "/health"): health,
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
        "/health": operation("Liveness: the process runs"),
        "/health/ready": operation("Readiness: the gateway accepts requests", may_fail=True),
        "/health/detailed": operation("Probe every enabled provider", may_fail=True),
        "/metrics": operation("Metrics in the Prometheus text format"),
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


def _probe_result(probe: Probe) -> dict[str, Any]:
    checked = datetime.fromtimestamp(probe.checked_at / 1e6, UTC)
    return {
        "status": probe.status,
        "latency_ms": probe.latency_ms,
        "checked_at": checked.isoformat().replace("+00:00", "Z"),
        "error": probe.error,
    }
