"""Names what models and task types refer to and nobody serves: allowed, since providers come and go."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

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
