"""Says what is wrong with a catalog: each fault names its row and begins with the field, and holds no secret."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import get_args
from urllib.parse import urlsplit

from llm_gateway.core.config.catalog import (
    CacheRules,
    Catalog,
    Credential,
    Kind,
    Model,
    Provider,
    RetryRules,
    Strategy,
    TaskType,
    Timeouts,
)
from llm_gateway.core.config.model_patterns import is_glob

STRATEGIES: tuple[str, ...] = get_args(Strategy)
# Bounds, so that a slip of the keyboard does not overflow a timer. Seconds, but for *_MS.
LONGEST_TIMEOUT = 86_400.0
LONGEST_TTL = 31_536_000.0
LONGEST_BACKOFF_MS = 3_600_000
MOST_RETRIES = 100
LARGEST_FACTOR = 100.0

_AFFINITY = re.compile(r"user|prompt_cache_key|header:[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_API_VERSION = re.compile(r"[A-Za-z0-9._-]+")


def catalog_faults(catalog: Catalog, kinds: Mapping[str, Kind]) -> list[str]:
    """Return every fault there is, those of reading first."""
    return [
        *catalog.faults,
        *_provider_rows(catalog.providers, kinds),
        *_credential_rows(catalog.credentials),
        *_named_rows("model", ((model.name, model_faults(model)) for model in catalog.models)),
        *_named_rows("task type", ((task.name, task_type_faults(task)) for task in catalog.task_types)),
    ]


def _provider_rows(providers: tuple[Provider, ...], kinds: Mapping[str, Kind]) -> Iterator[str]:
    seen: set[str] = set()
    for provider in providers:
        name = f"provider {provider.provider_key!r}"
        if provider.provider_key in seen:
            yield f"{name}: its provider_key is used twice"
        seen.add(provider.provider_key)
        for fault in provider_faults(provider, kinds):
            yield f"{name}: {fault}"


def _credential_rows(credentials: tuple[Credential, ...]) -> Iterator[str]:
    seen: set[bytes] = set()
    for credential in credentials:
        name = f"credential {credential.name!r}"
        if credential.key_hash in seen:
            yield f"{name}: its key is used twice"
        seen.add(credential.key_hash)
        if credential.rate_limit is not None and credential.rate_limit < 0:
            yield f"{name}: rate_limit must be 0 or more, or null"
        for fault in _cache_faults(credential.cache):
            yield f"{name}: {fault}"


def _named_rows(noun: str, rows: Iterable[tuple[str, list[str]]]) -> Iterator[str]:
    seen: set[str] = set()
    for name, faults in rows:
        if name in seen:
            yield f"{noun} {name!r}: name is used twice"
        seen.add(name)
        for fault in faults:
            yield f"{noun} {name!r}: {fault}"


# --- providers -------------------------------------------------------------------------------------


def provider_faults(provider: Provider, kinds: Mapping[str, Kind]) -> list[str]:
    """Return what is wrong with one provider, each as a sentence that starts with the field."""
    faults = []
    kind = kinds.get(provider.provider_type)
    if kind is None:
        known = ", ".join(sorted(kinds))
        faults.append(f"provider_type {provider.provider_type!r} is unknown; use one of: {known}")
    else:
        faults += _base_faults(provider.api_base, kind)
    if provider.weight < 0:
        faults.append("weight must be 0 or more")
    for public, upstream in provider.model_mapping.items():
        if not public or not upstream:
            faults.append("model_mapping must not hold empty names")
        elif upstream != "*" and is_glob(upstream):
            faults.append(f"model_mapping[{public!r}] must be one upstream name, or '*' for the same name")
        elif upstream == "*" and not is_glob(public):
            faults.append(f"model_mapping[{public!r}] is '*', which only a glob may be mapped to")
    if provider.oauth2 is not None:
        faults += _oauth2_faults(provider)
    if provider.api_version is not None and not _API_VERSION.fullmatch(provider.api_version):
        faults.append("api_version must be letters, digits and . _ - only, as in 2024-10-21")
    if provider.probe_interval is not None and not 1 <= provider.probe_interval <= LONGEST_TIMEOUT:
        faults.append(f"probe_interval must be 1 to {LONGEST_TIMEOUT:.0f} seconds, or null for no probes")
    return faults


def _base_faults(api_base: str, kind: Kind) -> list[str]:
    faults = _url_faults("api_base", api_base, kind.schemes, "the secret in api_key")
    if not faults and "?" in api_base and api_base.lower().startswith("http"):
        # An empty one too: a path is appended.
        return ["api_base must hold no query (?...)"]
    return faults


def _oauth2_faults(provider: Provider) -> list[str]:
    oauth2 = provider.oauth2
    if oauth2 is None:
        return []
    secret_at = "the client's id in client_id and its secret in api_key"  # noqa: S105 - a sentence
    faults = _url_faults("oauth2.token_url", oauth2.token_url, ("http", "https"), secret_at)
    if not oauth2.client_id or not oauth2.client_id.isprintable():
        faults.append("oauth2.client_id must be given, in printable characters")
    # A disabled provider may wait for its secret, or for the variable that holds it.
    if provider.secret is None and provider.is_enabled:
        faults.append("api_key must be given along with oauth2: it is the client's secret")
    return faults


def _url_faults(field: str, url: str, schemes: tuple[str, ...], instead: str) -> list[str]:
    starts = " or ".join(f"{scheme}://" for scheme in schemes)
    wanted = f"{field} must be a URL that starts with {starts}"
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return [wanted]
    if parts.scheme not in schemes or not parts.hostname:
        return [wanted]
    if parts.username is not None or parts.password is not None:
        return [f"{field} must hold no user name or password; put {instead}"]
    if any(character.isspace() or not character.isprintable() for character in url):
        return [f"{field} must hold no spaces or control characters"]
    if "#" in url:
        return [f"{field} must hold no fragment (#...)"]
    return []


# --- models and task types -------------------------------------------------------------------------


def model_faults(model: Model) -> list[str]:
    """Return what is wrong with one model, each as a sentence that starts with the field.

    Whom its weights and fallbacks name is not looked at: a provider may go before the model's row does.
    """
    faults = []
    if not model.name or is_glob(model.name):
        faults.append("name must be one model's name, without * ? [")
    if model.strategy not in STRATEGIES:
        faults.append(f"strategy must be one of: {', '.join(STRATEGIES)}")
    faults += [f"weights[{key!r}] must be 0 or more" for key, weight in model.weights.items() if weight < 0]
    for field in ("fallbacks", "context_fallbacks", "policy_fallbacks"):
        faults += _model_list_faults(field, getattr(model, field))
        if model.name in getattr(model, field):
            faults.append(f"{field} must not hold the model itself")
    faults += _timeout_faults(model.timeouts)
    faults += _retry_faults(model.retry)
    if model.affinity is not None and not _AFFINITY.fullmatch(model.affinity):
        faults.append("affinity must be user, prompt_cache_key or header:<name of a header>, or null")
    return faults + _cache_faults(model.cache)


def task_type_faults(task: TaskType) -> list[str]:
    """Return what is wrong with one task type, each as a sentence that starts with the field."""
    faults = [] if task.name else ["name must not be empty"]
    if not task.models:
        faults.append("models must name one model at least")
    return faults + _model_list_faults("models", task.models)


def _model_list_faults(field: str, models: tuple[str, ...]) -> list[str]:
    if any(not model or is_glob(model) for model in models):
        return [f"{field} must be names of models, without * ? ["]
    return []


def _timeout_faults(timeouts: Timeouts) -> list[str]:
    values = ((name, getattr(timeouts, name)) for name in timeouts.__struct_fields__)
    return [
        f"timeouts.{name} must be more than 0 and at most {LONGEST_TIMEOUT:.0f} seconds, or null"
        for name, value in values
        if value is not None and not 0 < value <= LONGEST_TIMEOUT
    ]


def _retry_faults(retry: RetryRules) -> list[str]:
    bounds: tuple[tuple[str, float, float], ...] = (
        ("max_retries", 0, MOST_RETRIES),
        ("initial_backoff_ms", 0, LONGEST_BACKOFF_MS),
        ("max_backoff_ms", 0, LONGEST_BACKOFF_MS),
        ("backoff_factor", 1, LARGEST_FACTOR),
        ("jitter", 0, 1),
    )
    values = ((name, low, high, getattr(retry, name)) for name, low, high in bounds)
    return [
        f"retry.{name} must be {low:.0f} to {high:.0f}, or null"
        for name, low, high, value in values
        if value is not None and not low <= value <= high
    ]


def _cache_faults(cache: CacheRules | None) -> list[str]:
    if cache is None or cache.ttl is None or 0 < cache.ttl <= LONGEST_TTL:
        return []
    return [f"cache.ttl must be more than 0 and at most {LONGEST_TTL:.0f} seconds, or null"]
