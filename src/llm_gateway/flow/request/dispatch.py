"""Tries the deployments of a plan in order until one sends its first content: the commit."""

from __future__ import annotations

from llm_gateway.core.model_request import ModelRequest
from llm_gateway.flow.accounting.meter import Meter
from llm_gateway.flow.call import Call
from llm_gateway.flow.failures.recovery import AttemptFailed, Recovery, UnsupportedField
from llm_gateway.flow.gateway import Gateway
from llm_gateway.flow.request.attempt import Attempt
from llm_gateway.flow.request.reply import StreamReply, WholeReply
from llm_gateway.flow.routing.plan import Plan


async def dispatch(
    gateway: Gateway, call: Call, request: ModelRequest, plan: Plan, meter: Meter
) -> WholeReply | StreamReply:
    """Return the first reply of a deployment in the plan; raise the error for the client if none replies."""
    now = gateway.clock.monotonic()
    candidate = plan.first(now)
    try:
        return await Attempt(gateway, call, request, candidate, meter, now).run()
    except (AttemptFailed, UnsupportedField) as failed:
        recovery = Recovery(gateway, call, plan, meter, candidate, failed)
    while True:
        # Raises the error for the client when nothing is left to try.
        candidate = await recovery.next_candidate()
        now = gateway.clock.monotonic()
        meter.uncommitted_usage = None
        try:
            return await Attempt(gateway, call, request, candidate, meter, now).run()
        except (AttemptFailed, UnsupportedField) as failed:
            recovery.failed(candidate, failed)
        finally:
            recovery.attempt_over()
