"""What the catalog's JSON columns must hold: how each is read, and how a fault says that it cannot be."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from llm_gateway.core.catalog import CacheRules, ClientCredentials, RetryRules, Timeouts
from llm_gateway.flow.stores import CredentialEntry, ModelEntry, ProviderEntry, TaskTypeEntry

_MODELS = "a list of model names"
_CACHE = "an object of is_enabled, ttl and is_shared, or null"


class JsonColumn:
    """One JSON column: what it may hold, and what stands in for it when it holds something else."""

    __slots__ = ("_decoder", "stand_in", "wanted")

    def __init__(self, holds: Any, stand_in: object, wanted: str) -> None:  # noqa: ANN401 - any type
        """Read values of the type `holds`; `wanted` describes them to an admin."""
        self._decoder = msgspec.json.Decoder(holds)
        self.stand_in = stand_in
        self.wanted = wanted

    def read(self, text: str | None) -> Any:  # noqa: ANN401 - any value
        """Return the value of a stored `text`, None for NULL; raise msgspec.DecodeError."""
        return None if text is None else self._decoder.decode(text)


JSON_COLUMNS: Mapping[type, Mapping[str, JsonColumn]] = {
    ProviderEntry: {
        "model_mapping": JsonColumn(dict[str, str], {}, "an object of public names and upstream names"),
        "oauth2": JsonColumn(
            ClientCredentials | None, None, "an object of token_url, client_id and scope, or null"
        ),
    },
    CredentialEntry: {
        # A credential whose list cannot be read is not one for all models.
        "allowed_models": JsonColumn(tuple[str, ...] | None, (), f"{_MODELS}, or null"),
        "cache": JsonColumn(CacheRules | None, None, _CACHE),
    },
    ModelEntry: {
        "weights": JsonColumn(dict[str, int], {}, "an object of provider_keys and whole numbers"),
        "fallbacks": JsonColumn(tuple[str, ...], (), _MODELS),
        "context_fallbacks": JsonColumn(tuple[str, ...], (), _MODELS),
        "policy_fallbacks": JsonColumn(tuple[str, ...], (), _MODELS),
        "timeouts": JsonColumn(
            Timeouts, Timeouts(), "an object of connect, first_content, idle and total, numbers of seconds"
        ),
        "retry": JsonColumn(
            RetryRules,
            RetryRules(),
            "an object of max_retries, initial_backoff_ms, max_backoff_ms, backoff_factor, jitter and retry_cut",
        ),
        "cache": JsonColumn(CacheRules | None, None, _CACHE),
    },
    TaskTypeEntry: {"models": JsonColumn(tuple[str, ...], (), _MODELS)},
}
