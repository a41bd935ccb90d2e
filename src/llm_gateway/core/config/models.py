"""Public models: routing rules, timeouts and fallbacks that an admin sets, and what valid ones look like."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Literal, get_args

import msgspec

from llm_gateway.core.config.cache_rules import CacheRules, cache_faults
from llm_gateway.core.config.faults import Fault
from llm_gateway.core.config.model_patterns import is_glob

Strategy = Literal["weighted_round_robin", "weighted_random", "least_busy"]
STRATEGIES: tuple[str, ...] = get_args(Strategy)

# Upper bounds, so that a typing error does not overflow a timer. Seconds, except *_MS.
LONGEST_TIMEOUT = 86_400.0
LONGEST_BACKOFF_MS = 3_600_000
MOST_RETRIES = 100
LARGEST_FACTOR = 100.0

_AFFINITY = re.compile(r"user|prompt_cache_key|header:[A-Za-z0-9!#$%&'*+.^_`|~-]+")


class Timeouts(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Seconds; None = the gateway's setting. `total` bounds one attempt of a unary call, never a stream's length."""

    connect: float | None = None
    # To the reply's head of a unary call, to the first content of a stream.
    first_content: float | None = None
    # Between two pieces of a stream.
    idle: float | None = None
    total: float | None = None


class RetryRules(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """How often and when a deployment is tried again; None = the gateway's setting. `*_ms` are milliseconds."""

    # Further tries after the first attempt at each deployment.
    max_retries: int | None = None
    initial_backoff_ms: int | None = None
    max_backoff_ms: int | None = None
    backoff_factor: float | None = None
    # The random part of a delay, up and down: 0.1 = a tenth.
    jitter: float | None = None
    # Whether a request is retried that was sent and whose connection was cut before any byte of the reply.
    retry_cut: bool = True


class Model(msgspec.Struct, frozen=True, kw_only=True):
    """What an admin set for one public model, beside what its providers say of it."""

    id: int
    # Exact, no glob.
    name: str
    strategy: Strategy = "weighted_round_robin"
    # provider_key to weight, in place of the provider's own; 0 drains it for this model.
    weights: dict[str, int] = {}
    # Public models to try, in order, once this one's deployments are exhausted.
    fallbacks: tuple[str, ...] = ()
    # ... when the request is too long for this model; empty = the client gets the error.
    context_fallbacks: tuple[str, ...] = ()
    # ... when the provider's policy rejects the content; empty = the client gets the error.
    policy_fallbacks: tuple[str, ...] = ()
    timeouts: Timeouts = Timeouts()
    retry: RetryRules = RetryRules()
    # Requests with the same value prefer the deployment that served the last one: "user", "prompt_cache_key"
    # or "header:<name>"; None = no affinity.
    affinity: str | None = None
    # None = no caching, unless a credential or a header asks for it.
    cache: CacheRules | None = None


def model_faults(model: Model) -> list[Fault]:
    """Return everything that is wrong with one model.

    Weights and fallbacks may name providers or models that do not exist: a provider can be deleted first.
    """
    return [Fault("model", model.name, field, message, model.id) for field, message in _faults(model)]


def _faults(model: Model) -> Iterator[tuple[str, str]]:
    if not model.name or is_glob(model.name):
        yield "name", "name must be one model's name, without * ? ["
    if model.strategy not in STRATEGIES:
        yield "strategy", f"strategy must be one of: {', '.join(STRATEGIES)}"
    for key, weight in model.weights.items():
        if weight < 0:
            yield "weights", f"weights[{key!r}] must be 0 or more"
    for field in ("fallbacks", "context_fallbacks", "policy_fallbacks"):
        fallbacks = getattr(model, field)
        yield from model_list_faults(field, fallbacks)
        if model.name in fallbacks:
            yield field, f"{field} must not hold the model itself"
    yield from _timeout_faults(model.timeouts)
    yield from _retry_faults(model.retry)
    if model.affinity is not None and not _AFFINITY.fullmatch(model.affinity):
        yield "affinity", "affinity must be user, prompt_cache_key or header:<name of a header>, or null"
    yield from cache_faults(model.cache)


def model_list_faults(field: str, models: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """Yield (field, message) when `models` holds anything but exact names."""
    if any(not model or is_glob(model) for model in models):
        yield field, f"{field} must be names of models, without * ? ["


def _timeout_faults(timeouts: Timeouts) -> Iterator[tuple[str, str]]:
    for name in timeouts.__struct_fields__:
        value = getattr(timeouts, name)
        if value is not None and not 0 < value <= LONGEST_TIMEOUT:
            field = f"timeouts.{name}"
            yield field, f"{field} must be more than 0 and at most {LONGEST_TIMEOUT:.0f} seconds, or null"


_RETRY_BOUNDS: tuple[tuple[str, float, float], ...] = (
    ("max_retries", 0, MOST_RETRIES),
    ("initial_backoff_ms", 0, LONGEST_BACKOFF_MS),
    ("max_backoff_ms", 0, LONGEST_BACKOFF_MS),
    ("backoff_factor", 1, LARGEST_FACTOR),
    ("jitter", 0, 1),
)


def _retry_faults(retry: RetryRules) -> Iterator[tuple[str, str]]:
    for name, low, high in _RETRY_BOUNDS:
        value = getattr(retry, name)
        if value is not None and not low <= value <= high:
            yield f"retry.{name}", f"retry.{name} must be {low:.0f} to {high:.0f}, or null"
