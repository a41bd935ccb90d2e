"""What happens to a request, from its key to its reply: this reads as a table of contents."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial

from llm_gateway.core.chat import ChatRequest
from llm_gateway.core.errors import BadRequest, GatewayError, InternalError, ModelNotFound, Unavailable
from llm_gateway.core.snapshot import Route, Snapshot
from llm_gateway.flow.admission import (
    authenticate,
    authorise,
    current_snapshot,
    rate_limit_headers,
    throttle,
)
from llm_gateway.flow.caching import answer_with_cache
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
        route = for_request(find_route(snapshot, request.model), request)
        verdict = await throttle(gateway, account)
        if call.cache is None and account.credential.cache is None and route.rules.cache is None:
            reply = await ask_providers(gateway, call, request, route, meter)
        else:
            reply = await answer_with_cache(
                gateway,
                call,
                request,
                account,
                route,
                meter,
                partial(ask_providers, gateway, call, request, route, meter),
            )
        reply.headers += _headers(request.model)
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


async def ask_providers(
    gateway: Gateway, call: Call, request: ChatRequest, route: Route, meter: Meter
) -> Reply:
    """Return what the providers of a route answer."""
    return await dispatch(gateway, call, request, gateway.selector.plan(route), meter)


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


def for_request(route: Route, request: ChatRequest) -> Route:
    """Return the part of a route that can answer the request.

    Raise ModelNotFound when no provider of it answers this endpoint, BadRequest when the request is bound to
    one provider and the route does not say which.
    """
    able = tuple(one for one in route.deployments if request.endpoint in one.endpoints)
    if not able:
        name = request.model[:200]
        message = f"No provider of the model '{name}' answers /v1/{request.endpoint}; use another endpoint or model."
        raise ModelNotFound(message, param="model")
    if request.bound_by is not None and len(able) > 1:
        message = (
            f"'{request.bound_by}' names something that is kept at one provider, and this model has {len(able)}: "
            "use a model with one provider, or send everything in 'input'."
        )
        raise BadRequest(message, code="bound_to_one_provider", param=request.bound_by)
    if len(able) == len(route.deployments):
        return route
    return Route(route.model, able, explicit=route.explicit, rules=route.rules)


def _headers(model: str) -> tuple[tuple[bytes, bytes], ...]:
    """Say the public model's name, where it can be said in a header."""
    if model.isascii() and model.isprintable():
        return ((b"x-llm-gateway-model", model.encode()),)
    return ()
