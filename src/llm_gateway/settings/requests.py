"""Settings of requests: bounds, retries, limits, the reply cache."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from llm_gateway.core.secret import Secret
from llm_gateway.settings.values import setting


def _read_web_address(url: str) -> Secret:
    if not re.match(r"https?://[^/?#\s]+", url):
        raise ValueError("it is not an http:// or https:// URL")
    return Secret(url)


@dataclass(frozen=True, kw_only=True)
class RequestSettings:
    """How requests are handled."""

    provider_suffix: str | None = setting(
        None, description="Prefix that is removed from model names: with Proxy, Proxy/gpt-4 means gpt-4."
    )
    llm_timeout: float | None = setting(
        None,
        gt=0,
        description="Seconds for a whole unary request; for a stream, for the first content and between chunks."
        " Unset: 600, and 60 for ping.",
    )
    connect_timeout: float = setting(10.0, gt=0, description="Seconds to connect to a provider.")
    max_concurrency: int = setting(
        10_000, ge=1, description="Most requests in flight on this machine; more get 503."
    )
    max_body_bytes: int = setting(
        50 * 1024 * 1024, ge=1, description="Largest request body; larger ones get 413."
    )
    max_body_fields: int = setting(
        1000, ge=1, description="Most top-level fields in a request body; more get 400."
    )
    max_body_values: int = setting(
        100_000,
        ge=1,
        description="Most JSON names, strings, objects and arrays in a request body of 256 KiB or more; more "
        "get 400.",
    )
    max_inflight_body_bytes: int = setting(
        512 * 1024 * 1024,
        ge=1,
        description="Most bytes of request bodies that one worker holds at once; more get 503.",
    )
    max_reply_bytes: int = setting(
        64 * 1024 * 1024,
        ge=1,
        description="Largest unary reply from a provider; larger ones are errors, and not bought again.",
    )
    max_event_bytes: int = setting(
        16 * 1024 * 1024,
        ge=1,
        description="Largest single event of a provider's stream, if `MAX_REPLY_BYTES` is not less.",
    )
    body_timeout: float = setting(
        60.0, gt=0, description="Seconds for a request body to arrive; slower ones get 408."
    )
    send_timeout: float = setting(
        30.0,
        gt=0,
        description="Seconds after which a client that reads nothing of its response is disconnected.",
    )
    commit_hold: float = setting(
        2.0,
        ge=0,
        description="Seconds that the first events of a stream are held back while they have no content, so "
        "that failover stays possible.",
    )
    limits_fail: Literal["open", "closed"] = setting(
        "open",
        description="Limits while Redis does not answer: open applies them per machine, so that N machines admit at "
        "most N times a limit; closed rejects requests.",
    )
    default_output_tokens: int = setting(
        1000,
        ge=1,
        le=1_000_000,
        description="Tokens that a reply without `max_tokens` is taken to have, for limits and budgets, until its "
        "model has given 100 replies.",
    )
    budgets_fail: Literal["open", "closed"] = setting(
        "closed",
        description="Requests under a budget while the database does not answer, and what this machine had borrowed "
        "of the budget is spent or its lease has ended: closed rejects them, open admits and counts them later.",
    )
    budget_lease: float = setting(
        60.0,
        ge=1,
        le=300,
        description="Seconds that a machine may spend what it has borrowed of a budget without asking the database "
        "again. What a machine that dies held is free after this.",
    )
    budget_webhook_url: Secret | None = setting(
        None,
        read=_read_web_address,
        description="URL that gets a POST with JSON when a budget has spent 80, 95 and 100 % of its amount.",
    )
    budget_webhook_secret: Secret | None = setting(
        None,
        description="Key that signs what is sent to BUDGET_WEBHOOK_URL, in the header x-llm-gateway-signature.",
    )
    allow_private_upstreams: bool = setting(
        True, description="Allow providers at loopback and private addresses."
    )

    # Retries: defaults for models that do not set their own
    max_retries: int = setting(
        3, ge=0, le=100, description="Retries of a request after each of its providers was tried once."
    )
    initial_backoff: int = setting(1000, ge=0, description="Milliseconds before the first retry.")
    max_backoff: int = setting(30_000, ge=0, description="Most milliseconds before a retry.")
    backoff_factor: float = setting(
        2.0, ge=1, description="Factor by which each wait is longer than the one before."
    )
    jitter: float = setting(
        0.1,
        ge=0,
        le=1,
        description="Random part of each wait, as a fraction in both directions: 0.1 is plus or minus 10 %.",
    )

    upstream_transport: Literal["pool", "aiohttp"] = setting(
        "pool",
        description="HTTP client for providers: pool (fast; requests through a proxy use aiohttp), or aiohttp.",
    )

    cache_enabled: bool = setting(
        True,
        description="Cache the replies of /api/query. For other endpoints a model, a credential or a request "
        "header enables caching.",
    )
    cache_ttl: float = setting(
        300.0,
        gt=0,
        description="Seconds that a reply is cached, unless its model or credential sets another time.",
    )
    cache_max_bytes: int = setting(
        64 * 1024 * 1024,
        ge=0,
        description="Most bytes of cached replies per worker, without Redis. A single reply may take an "
        "eighth of it, also with Redis.",
    )
