"""What the words of usage rows and of explained routes mean, and what to do about them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from llm_gateway.core.ledger.records import AttemptEnded, UsageRecord

_LIMIT = (
    "A limit of the credential, its tenant, project, agent or user was reached. Wait, or raise the limit."
)

# By `error_type`: what the client was told, and what helps.
ERRORS: Final[Mapping[str, str]] = {
    "client_left": "The client disconnected before the reply was complete. Look at its timeout.",
    "shutdown": "The gateway was stopped before the reply was complete, and its grace period had passed.",
    "interrupted": "The gateway's process ended before the request did. Nothing is known of the reply.",
    "invalid_api_key": "The key is missing, unknown or disabled.",
    "expired_api_key": "The key was valid, and has expired. Give the credential a later end, or a new key.",
    "ambiguous_api_key": "The request has several different keys. Send one.",
    "model_not_allowed": "The credential may not use this model. Allow it to the credential, or use another model.",
    "model_not_priced": "The credential may only use models with known prices, and this one has none. Set a price.",
    "model_not_found": "No enabled provider serves this model. Map it at a provider, or enable one.",
    "model_misconfigured": "The stored rows of the model's providers are faulty. See the configuration page.",
    "model_drained": "Every provider of the model has weight 0. Give one a weight.",
    "tenant_disabled": "The credential's tenant is disabled.",
    "project_disabled": "The credential's project is disabled.",
    "invalid_json": "The body is not JSON, or not an object.",
    "invalid_type": "A field of the body has the wrong type.",
    "invalid_header": "A header has a value that it cannot have.",
    "invalid_request": "The request has a problem, which the reply named.",
    "missing_required_parameter": "The body lacks a field, which the reply named.",
    "unknown_parameter": "The body has a field that this API does not know.",
    "unsupported_by_provider": "The model's provider does not support a field of the request.",
    "bound_to_one_provider": "A field refers to something stored at one provider, and the model has several.",
    "previous_response_not_found": "The previous response is not one of this credential, or its provider does not "
    "serve the model.",
    "context_length_exceeded": "The request is too long for the model. Name a context fallback, or send less.",
    "content_policy_violation": "The provider's content policy refused the request. Name a policy fallback if "
    "another model may answer.",
    "request_too_large": "The body is larger than MAX_BODY_BYTES.",
    "request_too_complex": "The body has more fields or values than the gateway accepts.",
    "request_timeout": "The body did not arrive in time.",
    "max_cost_exceeded": "The request could cost more than its client allows.",
    "max_cost_unknown": "The client set a highest cost, and nobody knows how much the request can cost.",
    "rate_limit_exceeded": _LIMIT,
    "insufficient_quota": "A budget, or a limit of a day, is used up, or too little is left of it for this request. "
    "Wait for the reset, or raise it.",
    "budget_unavailable": "The database is away, and nobody can tell what is left of a budget.",
    "database_unavailable": "The database did not respond.",
    "overloaded": "MAX_CONCURRENCY or MAX_INFLIGHT_BODY_BYTES was exceeded. Add workers or machines, or raise it.",
    "draining": "The gateway was shutting down.",
    "not_ready": "No configuration was loaded yet.",
    "internal_error": "A fault of the gateway; its log has details under the request id.",
    "upstream_error": "The provider failed. The attempts have the details.",
    "upstream_key_refused": "The provider rejected the gateway's API key. Update it at the provider's page.",
    "upstream_account_refused": "The provider refuses the gateway's account: check its credit, quota and rights.",
    "upstream_unreachable": "The provider could not be reached: check its address, the network and its status page.",
    "proxy_failed": "The gateway's own proxy (HTTP_PROXY, HTTPS_PROXY) failed.",
    "upstream_cut": "The provider's reply ended too early.",
    "upstream_bad_reply": "The provider's reply was invalid, or larger than a limit.",
    "upstream_unavailable": "The provider is overloaded. Add another provider for the model, or wait.",
    "upstream_timeout": "The provider did not respond in time. See the model's timeouts.",
}

# By `error_type`: the page where it can be corrected, below /console, and what it is called.
REMEDIES: Final[Mapping[str, tuple[str, str]]] = {
    "insufficient_quota": ("budgets", "Budgets"),
    "model_not_found": ("providers", "Providers"),
    "model_drained": ("providers", "Providers"),
    "model_misconfigured": ("configuration", "Configuration"),
    "model_not_priced": ("prices", "Prices"),
    "upstream_key_refused": ("providers", "Providers"),
    "upstream_account_refused": ("providers", "Providers"),
    "upstream_unreachable": ("providers", "Providers"),
    "tenant_disabled": ("tenants", "Tenants"),
    "project_disabled": ("projects", "Projects"),
}
# Errors that the page of the request's credential has more about.
OF_CREDENTIAL: Final = frozenset(
    {"insufficient_quota", "rate_limit_exceeded", "model_not_allowed", "model_not_priced", "expired_api_key"}
)

# By `reason` of an attempt.
REASONS: Final[Mapping[str, str]] = {
    "connect": "could not connect",
    "proxy": "the gateway's own proxy failed",
    "cut": "the connection was cut",
    "timeout": "no reply in time",
    "protocol": "the reply was invalid",
    "status": "the provider answered with an error",
    "account": "the provider refuses the gateway's account",
    "unserved": "the provider has no such model or endpoint",
    "too_large": "the reply was too large",
    "client_left": "the client disconnected",
    "shutdown": "the gateway was stopped",
    "interrupted": "the gateway's process ended",
}

NEXT_STEPS: Final[Mapping[str, str]] = {
    "failover": "another provider was tried",
    "fallback": "another model was tried",
    "retry": "it was tried again",
    "give_up": "nothing was left to try",
    "over_budget": "the retry budget was spent",
}

# By `unpriced`.
UNPRICED: Final[Mapping[str, str]] = {
    "unknown_provider": "the price book has no such provider: choose “Prices of” at the provider, or set a price",
    "unknown_model": "the price book does not have the model: set a price",
    "no_price": "the model has no prices: set them, or complete them",
    "unreported_usage": "the reply does not say how much was used of a unit that the model is billed by",
    "inconsistent_usage": "the parts in the reply are more than the whole",
    "audio_without_price": "audio was used, and the model has prices for text only",
}

COST_SOURCES: Final[Mapping[str, str]] = {
    "provider": "stated by the provider in its reply",
    "catalog": "the price book",
    "override": "a price that an administrator set",
    "none": "not known",
}

USAGE_SOURCES: Final[Mapping[str, str]] = {
    "provider": "stated by the provider",
    "counted": "counted by the gateway",
    "estimated": "estimated from lengths",
}

# By `reason` of a provider that is not tried.
OMISSIONS: Final[Mapping[str, str]] = {
    "disabled": "disabled",
    "drained": "weight 0",
    "endpoint": "does not support this endpoint",
    "not_mapped": "does not map the model",
    "breaker_open": "circuit breaker open",
    "faulty": "its stored row is faulty",
    "unserved": "answered that it does not have the model",
    "not_listed": "does not list the model",
    "not_priced": "has no known price, which the credential requires",
}

ROLES: Final[Mapping[str, str]] = {
    "asked": "The model that was asked for",
    "fallback": "Fallback",
    "context_fallback": "Fallback for requests that are too long",
    "policy_fallback": "Fallback for requests that a content policy refuses",
}

BREAKER_STYLES: Final[Mapping[str, str]] = {"closed": "good", "half_open": "warn", "open": "bad"}

OUTCOME_STYLES: Final[Mapping[str, str]] = {
    "ok": "good",
    "error": "bad",
    "interrupted": "bad",
    "aborted": "warn",
    "rejected": "warn",
}


def error_meaning(record: UsageRecord) -> str | None:
    """Return what the error of a request means; None if it had none."""
    code = record.error_type
    if code is None:
        return None
    if code in ERRORS:
        return ERRORS[code]
    if record.attempts:
        return "The provider's own error, passed on to the client. The attempts have the details."
    return "The gateway refused the request before it asked a provider."


def reason_meaning(attempt: AttemptEnded) -> str | None:
    """Return why an attempt failed; None if it did not."""
    reason = attempt.reason
    if reason is None:
        return None
    return REASONS.get(reason, ERRORS.get(reason, reason[:200]))


def usage_source_meaning(source: str | None) -> str | None:
    """Return where token counts come from: one source, or those of the prompt and of the completion."""
    if source is None:
        return None
    prompt, _, completion = source.partition("/")
    first = USAGE_SOURCES.get(prompt, prompt)
    if not completion:
        return first
    return f"prompt {first}; completion {USAGE_SOURCES.get(completion, completion)}"
