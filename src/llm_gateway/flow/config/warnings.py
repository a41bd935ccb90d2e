"""Names what models, task types and budgets refer to and nobody serves or is: allowed, since rows come and go."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping

from llm_gateway.core.config.accounts import SURFACE_ACCOUNTS
from llm_gateway.core.config.model_patterns import is_glob
from llm_gateway.core.config.snapshot import Snapshot


def model_warnings(
    snapshot: Snapshot, name: str, weights: Iterable[str], fallbacks: Mapping[str, Iterable[str]]
) -> list[str]:
    """Return a sentence for each thing in a model's row that has no effect now.

    `weights` are provider_keys; `fallbacks` has model names by field.
    """
    warnings = [] if snapshot.serves(name) else ["name: no enabled provider serves this model"]
    for key in weights:
        provider = snapshot.by_key.get(key)
        if provider is None:
            warnings.append(f"weights: there is no enabled provider {key!r}")
        elif provider.upstream_model(name) is None:
            warnings.append(f"weights: provider {key!r} does not serve this model")
    for field, models in fallbacks.items():
        warnings += unserved(snapshot, field, models)
    return warnings


def unserved(snapshot: Snapshot, field: str, models: Iterable[str]) -> list[str]:
    """Return a sentence for each of the `models` in `field` that no enabled provider serves."""
    return [
        f"{field}: no enabled provider serves {model!r}" for model in models if not snapshot.serves(model)
    ]


def budget_warnings(snapshot: Snapshot, scope: str, subject: str | None, models: Iterable[str]) -> list[str]:
    """Return a sentence for each thing in a budget's row that keeps it from covering a request now."""
    warnings = unserved(snapshot, "models", (model for model in models if not is_glob(model)))
    catalog = snapshot.catalog
    if scope in {"agent", "user"}:
        if not any(credential.trusts_attribution for credential in catalog.credentials):
            warnings.append(
                f"scope: no credential has trusts_attribution, so no request of /v1 names a trusted {scope}"
            )
        return warnings
    names: dict[str, Iterable[str]] = {
        # The accounts of surfaces are there without a row.
        "credential": (row.name for row in (*catalog.credentials, *SURFACE_ACCOUNTS)),
        "tenant": (row.name for row in catalog.tenants),
        "project": (row.name for row in catalog.projects),
    }
    if scope in names and all(name != subject for name in names[scope]):
        warnings.append(f"subject: there is no {scope} {subject!r}")
    return warnings


def price_warnings(
    snapshot: Snapshot, provider_key: str, upstream_model: str, units: Container[str]
) -> list[str]:
    """Return a sentence for each thing in a price override that keeps it from pricing a request now.

    `units` are those that it has prices for.
    """
    sides = [name for name in ("input_tokens", "output_tokens") if name not in units]
    return [
        *_not_applying(snapshot, provider_key, upstream_model),
        *(
            f"prices: there is none for {name}, so the cost of a request with any is not known; 0 means free"
            for name in sides
            if len(sides) == 1
        ),
    ]


def _not_applying(snapshot: Snapshot, provider_key: str, upstream_model: str) -> list[str]:
    provider = snapshot.by_key.get(provider_key)
    if provider is None:
        return [f"provider: there is no enabled provider {provider_key!r}"]
    if not is_glob(upstream_model) and not provider.may_ask_for(upstream_model):
        return [f"upstream_model: provider {provider_key!r} maps no model to {upstream_model!r}"]
    return []
