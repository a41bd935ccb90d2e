"""What happens to a request, from its key to its reply: this reads as a table of contents."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from llm_gateway.core.chat import ChatRequest
from llm_gateway.core.errors import GatewayError, InternalError, ModelNotFound, Unavailable
from llm_gateway.core.snapshot import Route, Snapshot
from llm_gateway.flow.admission import (
    authenticate,
    authorise,
    current_snapshot,
    rate_limit_headers,
    throttle,
)
from llm_gateway.flow.call import Call, ClientLeft
from llm_gateway.flow.dispatch import dispatch
from llm_gateway.flow.gateway import Gateway
from llm_gateway.flow.metering import CLIENT_LEFT, Meter
from llm_gateway.flow.reply import Reply

ReadRequest = Callable[[Call], Awaitable[ChatRequest]]


async def handle(gateway: Gateway, call: Call, read_request: ReadRequest) -> Reply:
    """Return the reply to one call; raise GatewayError. Either way exactly one record is reported.

    `read_request` reads and parses the body, once the caller is known to have a key.
    """
    meter = Meter(gateway, call)
    try:
        snapshot = current_snapshot(gateway, admitted=call.admitted)
        meter.config_version = snapshot.version
        account = authenticate(gateway, snapshot, call.api_key)
        meter.credential = account.credential.name
        request = await read_request(call)
        meter.stream = request.stream
        request.created = call.created_at // 1_000_000
        request.model = meter.model = strip_prefix(request.model, gateway.options.provider_suffix)
        authorise(account, request.model)
        route = find_route(snapshot, request.model)
        verdict = await throttle(gateway, account)
        plan = gateway.selector.plan(route)
        reply = await dispatch(gateway, call, request, plan, meter)
        reply.headers = _headers(request.model)
        if verdict is not None:
            reply.headers += rate_limit_headers(verdict)
    except GatewayError as error:
        meter.refuse(error)
        raise
    except (asyncio.CancelledError, ClientLeft):
        meter.abort(CLIENT_LEFT)
        raise
    except Exception:
        meter.refuse(InternalError("internal"))
        raise
    else:
        return reply


def strip_prefix(model: str, prefix: str | None) -> str:
    """Take `<prefix>/` off a model's name, once; other prefixes stay (S4.34 to S4.37)."""
    return model.removeprefix(f"{prefix}/") if prefix else model


def find_route(snapshot: Snapshot, model: str) -> Route:
    """Return who may serve the model; raise ModelNotFound, or Unavailable when all of them are drained."""
    route = snapshot.route(model)
    if route is None:
        name = model[:200]
        message = f"The model '{name}' does not exist here: no provider serves it. GET /v1/models lists all."
        raise ModelNotFound(message, param="model")
    if not route.deployments:
        message = f"Every provider of the model '{model[:200]}' is drained (weight 0)."
        raise Unavailable(message, code="model_drained", retry_after=1)
    return route


def _headers(model: str) -> tuple[tuple[bytes, bytes], ...]:
    """Say the public model's name, where it can be said in a header."""
    if model.isascii() and model.isprintable():
        return ((b"x-llm-gateway-model", model.encode()),)
    return ()
