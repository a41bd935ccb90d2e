"""One request on its way through the stages of the pipeline, which are plain functions."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable

import msgspec

from llm_gateway.core.config.snapshot import Principal, Route, Snapshot
from llm_gateway.core.errors import GatewayError, internal_error
from llm_gateway.core.model_request import ModelRequest
from llm_gateway.flow.accounting.meter import CLIENT_LEFT, Meter
from llm_gateway.flow.accounting.parameters import temperature_of
from llm_gateway.flow.accounting.pricing import requested_tier_of
from llm_gateway.flow.accounting.rate_limit import rate_limit_headers
from llm_gateway.flow.call import Call, ClientDisconnected
from llm_gateway.flow.gateway import Gateway
from llm_gateway.flow.ports.dialect import NO_ATTRIBUTION, Attribution
from llm_gateway.flow.ports.limits import NOT_LIMITED, Demand, Reserve, Verdict
from llm_gateway.flow.request.admission import authenticate, authorise, current_snapshot, refuse_shut
from llm_gateway.flow.request.bounded_body import parse_bounded
from llm_gateway.flow.request.cost_headers import cost_header
from llm_gateway.flow.request.reply import Reply
from llm_gateway.flow.routing.plan import Plan, find_route, make_plan


class Handling:
    """What is known of one request so far. Each stage adds to it, or raises GatewayError.

    No stage waits: `reserve` returns what has to be waited for, if there is any. So the same stages serve a request
    that a task handles (`pipeline.handle`) and one that needs none (`DirectRequest`). Whoever drives it passes every
    exception to `failed`.
    """

    __slots__ = ("account", "call", "gateway", "meter", "plan", "request", "route", "snapshot", "verdict")

    account: Principal
    request: ModelRequest
    route: Route
    snapshot: Snapshot

    def __init__(self, gateway: Gateway, call: Call) -> None:
        self.gateway = gateway
        self.call = call
        self.meter = Meter(gateway, call)
        # Made when it is first needed.
        self.plan: Plan | None = None
        self.verdict = NOT_LIMITED

    def admit(self) -> None:
        """Find the configuration and the account, before anything of the body is read."""
        gateway, call = self.gateway, self.call
        snapshot = current_snapshot(gateway, admitted=call.admitted)
        self.meter.config_version = snapshot.version
        account = authenticate(gateway, snapshot, call.api_key)
        self.admitted(snapshot, account)
        if account.is_shut:
            refuse_shut(gateway, account)

    def admitted(self, snapshot: Snapshot, account: Principal) -> None:
        """Take note of the configuration and of the account whose request it is."""
        self.snapshot, self.account, meter = snapshot, account, self.meter
        meter.config_version = snapshot.version
        meter.credential = account.credential.name
        meter.tenant, meter.project = account.tenant, account.project

    def read(self, body: bytes) -> str:
        """Read a body of less than LARGE_BODY bytes; return the public model."""
        return self.take(*parse_bounded(self.call, body, self.gateway.options))

    def take(self, request: ModelRequest, attribution: Attribution) -> str:
        """Take what the dialect has read of the body; return the public model."""
        call, meter, gateway = self.call, self.meter, self.gateway
        if attribution is not NO_ATTRIBUTION and self.account.credential.trusts_attribution:
            attribution = msgspec.structs.replace(attribution, is_trusted=True)
        call.attribution = attribution
        self.request = request
        meter.stream = request.stream
        request.created = call.created_at // 1_000_000
        model = request.model
        if prefix := gateway.options.provider_suffix:
            model = request.model = strip_prefix(model, prefix)
        meter.model = model
        fields = request.fields
        if "service_tier" in fields:
            meter.requested_tier = requested_tier_of(fields["service_tier"])
        if "temperature" in fields:
            meter.temperature = temperature_of(fields["temperature"])
        return model

    def find_route(self, model: str) -> None:
        """Check the access to the model, and plan the request."""
        authorise(self.account, model)
        self.route = find_route(self.snapshot, model)
        self.planned()

    def planned(self) -> Plan:
        """Return the plan of the request."""
        plan = self.plan
        if plan is None:
            plan = self.plan = make_plan(
                self.gateway.selector,
                self.snapshot,
                self.account,
                self.route,
                self.request,
                self.call.headers,
            )
        return plan

    def reserve(self, route: Route, reserve: Reserve | None = None) -> Awaitable[Verdict] | None:
        """Reserve what the request may use under its limits; return what decides if that takes time.

        `route` has the deployments that may serve it; `reserve` is that of its account, if it is known. Await the
        verdict at once, and pass it to `reserved`.
        """
        gateway, account, call = self.gateway, self.account, self.call
        if not (account.is_limited or gateway.options.limits_every_caller):
            return None
        able = route.deployments
        first = able[0] if able else None
        demand = Demand(self.request, call.created_at, call.request_bytes, call.attribution, first, able)
        answer = gateway.limit.reserve(account, demand) if reserve is None else reserve(demand)
        if not isinstance(answer, Verdict):
            return answer
        self.verdict = answer
        self.meter.reservation = answer.reservation
        return None

    def reserved(self, verdict: Verdict) -> None:
        """Take the verdict that had to be waited for."""
        self.verdict = verdict
        self.meter.reservation = verdict.reservation

    def finish(self, reply: Reply) -> None:
        """Add to a reply the headers about its cost and the limits."""
        cost = self.meter.cost_nano_usd
        if cost is not None:
            reply.headers += (cost_header(cost),)
        if self.verdict is not NOT_LIMITED:
            reply.headers += rate_limit_headers(self.verdict)

    def failed(self, error: BaseException) -> None:
        """Report a request that ends with an exception instead of a reply."""
        if isinstance(error, GatewayError):
            self.meter.refuse(error)
        elif isinstance(error, (asyncio.CancelledError, ClientDisconnected)):
            self.meter.abort(CLIENT_LEFT)
        elif isinstance(error, Exception):
            self.meter.refuse(internal_error())


def strip_prefix(model: str, prefix: str | None) -> str:
    """Remove one leading `<prefix>/` from a model's name; other prefixes stay (S4.34 to S4.37)."""
    return model.removeprefix(f"{prefix}/") if prefix else model
