"""Handles a request, from its key to its reply: admission, routing, limits, cache and dispatch."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial

from llm_gateway.core.errors import GatewayError, internal_error
from llm_gateway.core.model_request import ModelRequest
from llm_gateway.flow.accounting.meter import CLIENT_LEFT, Meter
from llm_gateway.flow.accounting.rate_limit import rate_limit_headers
from llm_gateway.flow.call import Call, ClientDisconnected
from llm_gateway.flow.gateway import Gateway
from llm_gateway.flow.ports.limits import NOT_LIMITED, Verdict
from llm_gateway.flow.request.admission import (
    authenticate,
    authorise,
    current_snapshot,
)
from llm_gateway.flow.request.cached_answer import answer_with_cache
from llm_gateway.flow.request.dispatch import dispatch
from llm_gateway.flow.request.reply import Reply
from llm_gateway.flow.routing.plan import find_route, make_plan

# Returns the request itself if the body has arrived already, which saves a coroutine.
ReadRequest = Callable[[Call], ModelRequest | Awaitable[ModelRequest]]


async def handle(gateway: Gateway, call: Call, read_request: ReadRequest) -> Reply:
    """Return the reply to one call, or raise GatewayError. Exactly one usage record is reported in either case.

    `read_request` reads and parses the body; it is called after the key was checked.
    """
    meter = Meter(gateway, call)
    try:
        snapshot = current_snapshot(gateway, admitted=call.admitted)
        meter.config_version = snapshot.version
        account = authenticate(gateway, snapshot, call.api_key)
        meter.credential = account.credential.name
        read = read_request(call)
        request = read if isinstance(read, ModelRequest) else await read
        meter.stream = request.stream
        request.created = call.created_at // 1_000_000
        request.model = meter.model = strip_prefix(request.model, gateway.options.provider_suffix)
        authorise(account, request.model)
        route = find_route(snapshot, request.model)
        plan = make_plan(gateway.selector, snapshot, account, route, request, call.headers)
        verdict = NOT_LIMITED
        if account.is_limited:
            answer = gateway.limit.reserve(account, request)
            verdict = answer if isinstance(answer, Verdict) else await answer
            meter.reservation = verdict.reservation
        if call.cache_directive is None and account.credential.cache is None and route.rules.cache is None:
            reply: Reply = await dispatch(gateway, call, request, plan, meter)
        else:
            ask = partial(dispatch, gateway, call, request, plan, meter)
            reply = await answer_with_cache(gateway, call, request, account, plan.route, meter, ask)
        if verdict is not NOT_LIMITED:
            reply.headers += rate_limit_headers(verdict)
    except GatewayError as error:
        meter.refuse(error)
        raise
    except (asyncio.CancelledError, ClientDisconnected):
        meter.abort(CLIENT_LEFT)
        raise
    except Exception:
        meter.refuse(internal_error())
        raise
    else:
        return reply


def strip_prefix(model: str, prefix: str | None) -> str:
    """Remove one leading `<prefix>/` from a model's name; other prefixes stay (S4.34 to S4.37)."""
    return model.removeprefix(f"{prefix}/") if prefix else model
