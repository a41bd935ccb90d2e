"""Tries the deployments of a plan in order until one sends its first content: the commit."""

from __future__ import annotations

from collections.abc import Awaitable

from llm_gateway.flow.failures.recovery import AttemptFailed, Recovery, UnsupportedField
from llm_gateway.flow.ports.upstream import UpstreamReply
from llm_gateway.flow.request.attempt import Attempt, make_attempt
from llm_gateway.flow.request.handling import Handling
from llm_gateway.flow.request.reply import StreamReply, WholeReply


async def dispatch(
    handling: Handling, attempt: Attempt | None = None, sending: Awaitable[UpstreamReply] | None = None
) -> WholeReply | StreamReply:
    """Return the first reply of a deployment in the plan; raise the error for the client if none replies.

    `attempt` is the first one if it has begun already, and `sending` gives its reply if it was sent.
    """
    gateway, meter = handling.gateway, handling.meter
    if attempt is None:
        now = gateway.clock.monotonic()
        attempt = make_attempt(handling, handling.planned().first(now), now)
    try:
        return await attempt.run(sending)
    except (AttemptFailed, UnsupportedField) as failed:
        plan, candidate = handling.planned(), attempt.candidate
        recovery = Recovery(gateway, handling.call, plan, meter, candidate, failed)
    while True:
        # Raises the error for the client when nothing is left to try.
        candidate = await recovery.next_candidate()
        now = gateway.clock.monotonic()
        meter.uncommitted_usage = None
        try:
            return await make_attempt(handling, candidate, now).run()
        except (AttemptFailed, UnsupportedField) as failed:
            recovery.failed(candidate, failed)
        finally:
            recovery.attempt_over()
