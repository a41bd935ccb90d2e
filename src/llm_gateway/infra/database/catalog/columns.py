"""What the catalog's columns must hold: how each is read, and how a fault says that it cannot be."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from llm_gateway.core.config.catalog import CacheRules, ClientCredentials, RetryRules, Timeouts
from llm_gateway.flow.config.rows import CredentialEntry, Entry, ModelEntry, ProviderEntry, TaskTypeEntry

_MODELS = "a list of model names"
_CACHE = "an object of is_enabled, ttl and is_shared, or null"


class Column:
    """One column that a hand may have broken: how its values are read, and what stands in for an unreadable one."""

    __slots__ = ("_decoder", "numbers", "stand_in", "wanted")

    def __init__(self, holds: Any, stand_in: object, wanted: str, numbers: tuple[type, ...] = ()) -> None:  # noqa: ANN401 - any type
        """Read values of the type `holds`, JSON but for `numbers`; `wanted` describes them to an admin."""
        self._decoder = msgspec.json.Decoder(holds)
        # Types of values that need no reading; none for JSON.
        self.numbers = numbers
        self.stand_in = stand_in
        self.wanted = wanted

    def read(self, stored: object) -> Any:  # noqa: ANN401 - any value
        """Return the value of what is stored and not NULL; raise msgspec.DecodeError."""
        return self._decoder.decode(str(stored))


COLUMNS: Mapping[type[Entry], Mapping[str, Column]] = {
    ProviderEntry: {
        "model_mapping": Column(dict[str, str], {}, "an object of public names and upstream names"),
        "oauth2": Column(
            ClientCredentials | None, None, "an object of token_url, client_id and scope, or null"
        ),
        # SQLite keeps whatever it is given, in number columns too.
        "weight": Column(int, 0, "a whole number", (int,)),
        "probe_interval": Column(float, None, "a number of seconds, or null", (int, float)),
    },
    CredentialEntry: {
        # A credential whose list cannot be read is not one for all models.
        "allowed_models": Column(tuple[str, ...] | None, (), f"{_MODELS}, or null"),
        "cache": Column(CacheRules | None, None, _CACHE),
        "rate_limit": Column(int, None, "a whole number, or null", (int,)),
    },
    ModelEntry: {
        "weights": Column(dict[str, int], {}, "an object of provider_keys and whole numbers"),
        "fallbacks": Column(tuple[str, ...], (), _MODELS),
        "context_fallbacks": Column(tuple[str, ...], (), _MODELS),
        "policy_fallbacks": Column(tuple[str, ...], (), _MODELS),
        "timeouts": Column(
            Timeouts, Timeouts(), "an object of connect, first_content, idle and total, numbers of seconds"
        ),
        "retry": Column(
            RetryRules,
            RetryRules(),
            "an object of max_retries, initial_backoff_ms, max_backoff_ms, backoff_factor, jitter and retry_cut",
        ),
        "cache": Column(CacheRules | None, None, _CACHE),
    },
    TaskTypeEntry: {"models": Column(tuple[str, ...], (), _MODELS)},
}
