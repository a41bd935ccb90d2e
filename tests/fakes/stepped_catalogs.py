"""The configurations that a stepped gateway takes, one after the other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from llm_gateway.core.config.accounts import Project, Tenant
from llm_gateway.core.config.cache_rules import CacheRules
from llm_gateway.core.config.catalog import Catalog
from llm_gateway.core.config.credentials import Credential
from llm_gateway.core.config.limits import Budget, Limits
from llm_gateway.core.config.models import Model, RetryRules, Timeouts
from llm_gateway.core.config.providers import Provider
from llm_gateway.core.secret import Secret
from tests.fakes.in_memory import PlainHasher, credential, provider

# Of the clients, by the position of their credential.
NAMES = ("plain", "rated", "metered", "spending", "waiting", "caching", "priced", "expiring")
# When the key of `expiring` is refused, in the seconds of the stepped clock, which begins at 1000.
EXPIRES_AT = 1012.0
MODELS = (
    "one", "two", "three", "drawn", "busy", "fragile", "sticky", "cached", "quick", "once", "alone", "elsewhere",
    "any-7", "nobody's", "denied",
)  # fmt: skip


def key_of(name: str) -> str:
    return f"sk-of-{name}"


def _owner(name: str, number: int, **changes: Any) -> Credential:
    return credential(key_of(name), number, name=name, **changes)


def _providers() -> list[Provider]:
    def serving(key: str, number: int, weight: int, *names: str) -> Provider:
        upstream = {1: "cheap", 2: "dear", 3: "unknown"}[number]
        models = dict.fromkeys(names, upstream)
        return provider(key, number, weight=weight, model_mapping=models, price_provider="acme")

    shared = ("three", "drawn", "busy", "sticky", "cached", "denied")
    return [
        serving("a", 1, 1, "one", "two", "fragile", "quick", "once", "alone", *shared),
        serving("b", 2, 3, "two", "fragile", *shared),
        msgspec.structs.replace(serving("c", 3, 2, "elsewhere", *shared), model_mapping={
            **dict.fromkeys(("elsewhere", *shared), "free"), "any-*": "*",
        }),
    ]  # fmt: skip


def base() -> dict[str, Any]:
    """Return the rows that every configuration begins with."""
    everything = (*(name for name in MODELS if name != "denied"), "any-*")
    return {
        "providers": _providers(),
        "models": [
            Model(id=1, name="drawn", strategy="weighted_random"),
            Model(id=2, name="busy", strategy="least_busy"),
            Model(id=3, name="fragile", fallbacks=("elsewhere",), context_fallbacks=("three",)),
            Model(id=4, name="sticky", affinity="user"),
            Model(id=5, name="cached", cache=CacheRules()),
            Model(id=6, name="quick", timeouts=Timeouts(first_content=1.5, total=2.5, idle=1.0)),
            Model(id=7, name="once", retry=RetryRules(max_retries=0)),
            Model(id=8, name="alone", retry=RetryRules(max_retries=1, initial_backoff_ms=200, retry_cut=False)),
        ],
        "tenants": [Tenant(id=1, name="acme", limits=Limits(requests_per_minute=100))],
        "projects": [Project(id=1, name="web", tenant="acme")],
        "credentials": [
            _owner("plain", 1, allowed_models=everything),
            _owner("rated", 2, rate_limit=4, allowed_models=everything),
            _owner(
                "metered",
                3,
                limits=Limits(tokens_per_minute=3000, concurrent_requests=2),
                agent_limits=Limits(requests_per_minute=5),
                trusts_attribution=True,
                project="web",
            ),
            _owner("spending", 4),
            _owner("waiting", 5),
            _owner("caching", 6, cache=CacheRules(ttl=60.0)),
            _owner("priced", 7, require_pricing=True),
            _owner("expiring", 8, expires_at=int(EXPIRES_AT * 1e6)),
        ],
        "budgets": [
            Budget(
                id=1, name="small", scope="credential", subject="spending", amount_nano_usd=60_000, period="total",
                counts_from=0,
            )
        ],
    }  # fmt: skip


def _change(rows: list[Any], name: str, **changes: Any) -> None:
    field = "provider_key" if isinstance(rows[0], Provider) else "name"
    for at, row in enumerate(rows):
        if getattr(row, field) == name:
            rows[at] = msgspec.structs.replace(row, **changes)


def _weights(rows: dict[str, Any]) -> None:
    _change(rows["providers"], "b", weight=1)
    _change(rows["providers"], "a", secret=Secret("sk-secret-of-a-too"))
    rows["models"].append(Model(id=20, name="three", weights={"a": 5, "c": 0}))


def _keys(rows: dict[str, Any]) -> None:
    _change(rows["credentials"], "plain", key_hash=PlainHasher().hash("sk-new"))
    until = int(EXPIRES_AT * 1e6)
    _change(
        rows["credentials"],
        "rated",
        key_hash=PlainHasher().hash("sk-rotated"),
        previous_key_hash=PlainHasher().hash(key_of("rated")),
        previous_key_expires_at=until,
    )


def _disabled(rows: dict[str, Any]) -> None:
    _change(rows["credentials"], "plain", is_enabled=False)
    _change(rows["tenants"], "acme", is_enabled=False)
    _change(rows["credentials"], "spending", revoked_at=1)


def _shut(rows: dict[str, Any]) -> None:
    _change(rows["credentials"], "plain", allowed_models=())
    _change(rows["credentials"], "rated", rate_limit=0)


def _rules(rows: dict[str, Any]) -> None:
    _change(rows["credentials"], "plain", allowed_models=("two", "three"), rate_limit=2)
    rows["models"].append(Model(id=20, name="two", cache=CacheRules(is_shared=True)))
    rows["models"].append(Model(id=21, name="three", affinity="user", fallbacks=("one",)))


def _limits(rows: dict[str, Any]) -> None:
    _change(rows["credentials"], "plain", limits=Limits(concurrent_requests=1))
    _change(rows["credentials"], "rated", rate_limit=1)


def _drained(rows: dict[str, Any]) -> None:
    _change(rows["providers"], "a", weight=0)
    _change(rows["providers"], "b", is_enabled=False)


def _gone(rows: dict[str, Any]) -> None:
    del rows["providers"][1:]


CHANGES: dict[str, Callable[[dict[str, Any]], None]] = {
    "nothing": lambda _rows: None,
    "weights": _weights,
    "keys": _keys,
    "disabled": _disabled,
    "shut": _shut,
    "rules": _rules,
    "limits": _limits,
    "drained": _drained,
    "gone": _gone,
}


def catalog(change: str, version: int) -> Catalog:
    """Return a configuration that differs from the first one in `change`."""
    rows = base()
    CHANGES[change](rows)
    return Catalog(version=version, **{name: tuple(each) for name, each in rows.items()})
