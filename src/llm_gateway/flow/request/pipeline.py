"""Handles a request, from its key to its reply: admission, routing, limits, cache and dispatch."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final

import msgspec

from llm_gateway.core.config.accounts import Principal
from llm_gateway.core.errors import GatewayError, internal_error
from llm_gateway.core.model_request import ModelRequest
from llm_gateway.flow.accounting.cost_estimate import RoutedRequest
from llm_gateway.flow.accounting.meter import CLIENT_LEFT, Meter
from llm_gateway.flow.accounting.parameters import temperature_of
from llm_gateway.flow.accounting.pricing import requested_tier_of
from llm_gateway.flow.accounting.rate_limit import rate_limit_headers
from llm_gateway.flow.call import Call, ClientDisconnected
from llm_gateway.flow.gateway import Gateway
from llm_gateway.flow.ports.dialect import NO_ATTRIBUTION
from llm_gateway.flow.ports.limits import NOT_LIMITED, Demand, Verdict
from llm_gateway.flow.request.admission import (
    authenticate,
    authorise,
    current_snapshot,
    refuse_shut,
)
from llm_gateway.flow.request.bounded_body import parse_bounded
from llm_gateway.flow.request.cached_answer import answer_with_cache
from llm_gateway.flow.request.cost_headers import cost_header, obey_cost_headers
from llm_gateway.flow.request.dispatch import dispatch
from llm_gateway.flow.request.reply import Reply
from llm_gateway.flow.routing.plan import Plan, find_route, make_plan

_TIER: Final = "service_tier"
_TEMPERATURE: Final = "temperature"

# Returns the body itself if it has arrived already, which saves a coroutine.
ReadBody = Callable[[], bytes | Awaitable[bytes]]


async def handle(  # noqa: C901, PLR0912, PLR0915 - each helper would cost every request a frame
    gateway: Gateway, call: Call, read_body: ReadBody
) -> Reply:
    """Return the reply to one call, or raise GatewayError. Exactly one usage record is reported in either case.

    `read_body` is called after the key was checked.
    """
    meter = Meter(gateway, call)
    if gateway.tracer is not None:
        gateway.tracer.begin(call.request_id, call.method, call.path, call.created_at, call.headers)
    try:
        snapshot = current_snapshot(gateway, admitted=call.admitted)
        meter.config_version = snapshot.version
        account = authenticate(gateway, snapshot, call.api_key)
        meter.credential = account.credential.name
        meter.tenant, meter.project = account.tenant, account.project
        if account.is_shut:
            refuse_shut(gateway, account)
        read = read_body()
        body = read if isinstance(read, bytes) else await read
        if len(body) < gateway.options.small_body:
            request, call.attribution = call.dialect.read(body, call)
        else:
            request, call.attribution = await parse_bounded(gateway, account, call, body)
        if call.attribution is not NO_ATTRIBUTION and account.credential.trusts_attribution:
            call.attribution = msgspec.structs.replace(call.attribution, is_trusted=True)
        meter.stream = request.stream
        request.created = call.created_at // 1_000_000
        model = request.model
        if prefix := gateway.options.provider_suffix:
            model = request.model = strip_prefix(model, prefix)
        meter.model = model
        if _TIER in request.fields:
            meter.requested_tier = requested_tier_of(request.fields[_TIER])
        if _TEMPERATURE in request.fields:
            meter.temperature = temperature_of(request.fields[_TEMPERATURE])
        try:
            authorise(account, model)
            route = find_route(snapshot, model)
            plan = make_plan(gateway.selector, snapshot, account, route, request, call.headers)
        except GatewayError:
            if gateway.options.limits_before_routing:
                await _check_limits(gateway, account, call, request)
            raise
        if call.cost_headers is not None:
            routed = RoutedRequest(request, snapshot, account, route, call.created_at, call.headers)
            estimate = await obey_cost_headers(gateway, call.cost_headers, routed, meter)
            if estimate is not None:
                return estimate
        verdict = NOT_LIMITED
        if account.is_limited or gateway.options.limits_every_caller:
            answer = gateway.limit.reserve(account, _demand(call, request, plan))
            verdict = answer if isinstance(answer, Verdict) else await answer
            meter.reservation = verdict.reservation
        if call.cache_directive is None and account.credential.cache is None and route.rules.cache is None:
            reply: Reply = await dispatch(gateway, call, request, plan, meter)
        else:
            ask = partial(dispatch, gateway, call, request, plan, meter)
            reply = await answer_with_cache(gateway, call, request, account, plan.route, meter, ask)
        if (record := meter.record) is not None and (cost := record.cost_nano_usd) is not None:
            reply.headers += (cost_header(cost),)
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


async def _check_limits(gateway: Gateway, account: Principal, call: Call, request: ModelRequest) -> None:
    """Raise GatewayError if the limits refuse a request that no deployment can serve."""
    answer = gateway.limit.reserve(
        account, Demand(request, call.created_at, call.request_bytes, call.attribution)
    )
    verdict = answer if isinstance(answer, Verdict) else await answer
    verdict.reservation.release()


def _demand(call: Call, request: ModelRequest, plan: Plan) -> Demand:
    able = plan.route.deployments
    first = able[0] if able else None
    return Demand(request, call.created_at, call.request_bytes, call.attribution, first, able)


def strip_prefix(model: str, prefix: str | None) -> str:
    """Remove one leading `<prefix>/` from a model's name; other prefixes stay (S4.34 to S4.37)."""
    return model.removeprefix(f"{prefix}/") if prefix else model
