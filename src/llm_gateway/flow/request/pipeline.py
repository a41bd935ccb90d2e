"""Handles a request, from its key to its reply: admission, routing, limits, cache and dispatch."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial

from llm_gateway.core.errors import GatewayError
from llm_gateway.flow.accounting.cost_estimate import RoutedRequest
from llm_gateway.flow.call import Call
from llm_gateway.flow.gateway import Gateway
from llm_gateway.flow.heavy_work import LARGE_BODY
from llm_gateway.flow.ports.limits import Demand, Verdict
from llm_gateway.flow.ports.upstream import UpstreamReply
from llm_gateway.flow.request.attempt import Attempt
from llm_gateway.flow.request.bounded_body import parse_large
from llm_gateway.flow.request.cached_answer import answer_with_cache
from llm_gateway.flow.request.cost_headers import obey_cost_headers
from llm_gateway.flow.request.dispatch import dispatch
from llm_gateway.flow.request.handling import Handling
from llm_gateway.flow.request.reply import Reply

# Returns the body itself if it has arrived already, which saves a coroutine.
ReadBody = Callable[[], bytes | Awaitable[bytes]]


async def handle(gateway: Gateway, call: Call, read_body: ReadBody) -> Reply:
    """Return the reply to one call, or raise GatewayError. Exactly one usage record is reported in either case.

    `read_body` is called after the key was checked.
    """
    handling = Handling(gateway, call)
    if gateway.tracer is not None:
        gateway.tracer.begin(call.request_id, call.method, call.path, call.created_at, call.headers)
    try:
        handling.admit()
        read = read_body()
        body = read if isinstance(read, bytes) else await read
        if len(body) < LARGE_BODY:
            model = handling.read(body)
        else:
            model = handling.take(*await parse_large(gateway, handling.account, call, body))
        return await route_and_answer(handling, model)
    except BaseException as error:
        handling.failed(error)
        raise


async def route_and_answer(handling: Handling, model: str) -> Reply:
    """Return the reply to a request whose body has been read."""
    gateway, call, account = handling.gateway, handling.call, handling.account
    try:
        handling.find_route(model)
    except GatewayError:
        if gateway.options.limits_before_routing:
            await _check_limits(handling)
        raise
    if call.cost_headers is not None:
        routed = RoutedRequest(
            handling.request, handling.snapshot, account, handling.route, call.created_at, call.headers
        )
        estimate = await obey_cost_headers(gateway, call.cost_headers, routed, handling.meter)
        if estimate is not None:
            return estimate
    plan = handling.planned()
    if (waiting := handling.reserve(plan.route)) is not None:
        handling.reserved(await waiting)
    has_rules = account.credential.cache is not None or handling.route.rules.cache is not None
    if call.cache_directive is None and not has_rules:
        return await answer(handling)
    ask = partial(dispatch, handling)
    reply = await answer_with_cache(gateway, call, handling.request, account, plan.route, handling.meter, ask)
    handling.finish(reply)
    return reply


async def answer(
    handling: Handling, attempt: Attempt | None = None, sending: Awaitable[UpstreamReply] | None = None
) -> Reply:
    """Return a provider's reply to a request that was reserved; `attempt` and `sending` are those of `dispatch`."""
    reply = await dispatch(handling, attempt, sending)
    handling.finish(reply)
    return reply


async def answer_later(handling: Handling, verdict: Awaitable[Verdict]) -> Reply:
    """Return a provider's reply to a request whose limits have to be waited for."""
    handling.reserved(await verdict)
    return await answer(handling)


async def _check_limits(handling: Handling) -> None:
    """Raise GatewayError if the limits refuse a request that no deployment can serve."""
    call = handling.call
    answer = handling.gateway.limit.reserve(
        handling.account, Demand(handling.request, call.created_at, call.request_bytes, call.attribution)
    )
    verdict = answer if isinstance(answer, Verdict) else await answer
    verdict.reservation.release()
