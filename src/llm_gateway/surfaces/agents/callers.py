"""Who calls the agents' API, and how many requests each agent has."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from llm_gateway.core.config.accounts import AGENTS_ACCOUNT, Principal
from llm_gateway.core.config.limits import Limits
from llm_gateway.core.errors import GatewayError, Unauthenticated, Unavailable
from llm_gateway.flow.accounting.use_limit import AccountsOf, LimitedAccount
from llm_gateway.flow.ports.dialect import (
    NO_ATTRIBUTION,
    Attribution,
    PresentedKey,
    RefusedKey,
    VouchedCaller,
)
from llm_gateway.surfaces.agents.options import AgentsOptions

HEADER: Final = b"x-internal-secret"


def caller_check(options: AgentsOptions) -> Callable[[Mapping[bytes, bytes]], PresentedKey]:
    """Return a function that identifies the sender of a request by its headers."""
    if options.secret is None:
        return lambda _: RefusedKey(_not_configured)
    if options.has_well_known_secret and not options.is_debug:
        return lambda _: RefusedKey(_well_known)
    # Digests have one length, so that the time of the comparison says nothing about the secret.
    expected = hashlib.sha256(options.secret.reveal().encode()).digest()
    caller, missing, wrong = VouchedCaller(AGENTS_ACCOUNT.key_hash), RefusedKey(_missing), RefusedKey(_wrong)

    def identify(headers: Mapping[bytes, bytes]) -> PresentedKey:
        given = headers.get(HEADER)
        if given is None:
            return missing
        return caller if hmac.compare_digest(hashlib.sha256(given.strip()).digest(), expected) else wrong

    return identify


def _not_configured() -> GatewayError:
    return _unavailable(
        "The agent API is not configured: the gateway's setting LLM_PROXY_SECRET is not set. Set it to the secret "
        "that clients send as X-Internal-Secret."
    )


def _well_known() -> GatewayError:
    return _unavailable(
        "The agent API is closed: LLM_PROXY_SECRET has the well-known value of the documentation, which is "
        "accepted with DEBUG=true alone. Set it to a secret of your own."
    )


def _unavailable(message: str) -> GatewayError:
    error = Unavailable(message, code="not_configured")
    error.waiting_helps = False
    return error


def _missing() -> GatewayError:
    return Unauthenticated(
        "Invalid or missing X-Internal-Secret header: none was sent. Send the gateway's LLM_PROXY_SECRET in it.",
        code="invalid_internal_secret",
    )


def _wrong() -> GatewayError:
    return Unauthenticated(
        "Invalid or missing X-Internal-Secret header: it is not the gateway's LLM_PROXY_SECRET.",
        code="invalid_internal_secret",
    )


def agent_limits(account: Principal, requests_per_minute: int) -> Limits:
    """Return the limits of each agent, and of all requests without an agent together."""
    own = account.credential.agent_limits
    return Limits(requests_per_minute=requests_per_minute) if own is None else own


def limited_agents(requests_per_minute: int) -> AccountsOf:
    """Return a function that returns the agent that a request is limited as.

    Requests without an agent are limited together. An agent's limits that the credential sets hold anyway.
    """

    def accounts_of(account: Principal, attribution: Attribution) -> Sequence[LimitedAccount]:
        # Who asks before the body is read does not know the agent.
        if attribution is NO_ATTRIBUTION:
            return ()
        agent, credential = attribution.agent, account.credential
        if agent is not None and credential.agent_limits is not None:
            return ()
        limits = agent_limits(account, requests_per_minute)
        return (LimitedAccount("agent", f"{credential.id}/{agent or ''}", limits),)

    return accounts_of
