"""The editable configuration as values: what the admin API writes and the snapshot is built from."""

from __future__ import annotations

from typing import Literal

import msgspec

from llm_gateway.core.endpoints import EndpointName
from llm_gateway.core.secret import Secret


class Kind(msgspec.Struct, frozen=True, kw_only=True):
    """What the catalog has to know of a provider kind or preset; the adapter knows the rest."""

    name: str
    # The path segment that an `api_base` without a version gets, e.g. "/v1"; "" for none.
    version_segment: str = "/v1"
    default_api_base: str | None = None
    # URL schemes that `api_base` may have.
    schemes: tuple[str, ...] = ("http", "https")
    # False for servers that refuse `stream_options`.
    stream_usage: bool = True
    # Which endpoints its providers answer; a deployment is not in the plan of any other.
    endpoints: tuple[EndpointName, ...] = ("chat/completions", "completions")


class ClientCredentials(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """OAuth2 client credentials (RFC 6749, 4.4): the provider's secret is the client's secret."""

    token_url: str
    client_id: str
    scope: str | None = None


class Provider(msgspec.Struct, frozen=True, kw_only=True):
    """An upstream account."""

    id: int
    provider_key: str
    provider_type: str
    # As the admin sent it.
    api_base: str
    # None where the upstream needs none.
    secret: Secret | None = None
    # Public name (or glob) to upstream name; empty serves every name unchanged.
    model_mapping: dict[str, str] = {}
    weight: int = 1
    is_enabled: bool = True
    # None = the secret itself is what the provider is shown.
    oauth2: ClientCredentials | None = None
    # Azure's `api-version`; None = the kind's own, or none.
    api_version: str | None = None
    # Overrides the kind's `stream_usage`.
    stream_usage: bool | None = None
    # Seconds between active probes; None = it is never asked unasked.
    probe_interval: float | None = None


Strategy = Literal["weighted_round_robin", "weighted_random", "least_busy"]


class Timeouts(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Seconds; None = the gateway's setting. `total` bounds one attempt of a unary call, never a stream's length."""

    connect: float | None = None
    # To the reply's head of a unary call, to the first content of a stream.
    first_content: float | None = None
    # Between two pieces of a stream.
    idle: float | None = None
    total: float | None = None


class RetryRules(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """How often and how late a deployment is asked again; None = the gateway's setting. `*_ms` are milliseconds."""

    # Further tries after the first visit to each deployment.
    max_retries: int | None = None
    initial_backoff_ms: int | None = None
    max_backoff_ms: int | None = None
    backoff_factor: float | None = None
    # The part of a delay that is random, up and down: 0.1 = a tenth.
    jitter: float | None = None
    # Whether a request that was sent, and whose connection was cut before any byte of the reply, is tried again.
    retry_cut: bool = True


class CacheRules(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Exact-match caching of replies; `ttl` in seconds, None = the gateway's setting."""

    is_enabled: bool = True
    ttl: float | None = None
    # One cache for all credentials instead of one for each.
    is_shared: bool = False


class Model(msgspec.Struct, frozen=True, kw_only=True):
    """What an admin set for one public model, beside what its providers say of it."""

    id: int
    # Exact, no glob.
    name: str
    strategy: Strategy = "weighted_round_robin"
    # provider_key to weight, in place of the provider's own; 0 drains it for this model.
    weights: dict[str, int] = {}
    # Public models to go on with once this one's deployments are exhausted, in order.
    fallbacks: tuple[str, ...] = ()
    # ... when the request is too long for this model; empty = the error is told.
    context_fallbacks: tuple[str, ...] = ()
    # ... when the provider's policy refuses the content; empty = the error is told.
    policy_fallbacks: tuple[str, ...] = ()
    timeouts: Timeouts = Timeouts()
    retry: RetryRules = RetryRules()
    # What makes requests prefer the deployment that served their like: "user", "prompt_cache_key" or
    # "header:<name>"; None = nothing does.
    affinity: str | None = None
    # None = no caching, unless a credential or a header asks for it.
    cache: CacheRules | None = None


class TaskType(msgspec.Struct, frozen=True, kw_only=True):
    """A task such as "summarization", and the public models that do it, best first."""

    id: int
    name: str
    models: tuple[str, ...]


class Credential(msgspec.Struct, frozen=True, kw_only=True):
    """A client's key: only its keyed hash is known."""

    id: int
    name: str
    key_hash: bytes
    # None = all models, () = none; entries may be globs.
    allowed_models: tuple[str, ...] | None = None
    # Requests per second; None = unlimited, 0 = none.
    rate_limit: int | None = None
    is_enabled: bool = True
    # None = what the model says.
    cache: CacheRules | None = None


class Catalog(msgspec.Struct, frozen=True, kw_only=True):
    """One consistent read of the whole configuration."""

    version: int
    providers: tuple[Provider, ...] = ()
    credentials: tuple[Credential, ...] = ()
    models: tuple[Model, ...] = ()
    task_types: tuple[TaskType, ...] = ()
    # What could not even be read (a secret that does not open, a missing `env:` variable).
    faults: tuple[str, ...] = ()
