"""Settings of public models in the database: their table and how its rows are read."""

from __future__ import annotations

import msgspec
import sqlalchemy as sa

from llm_gateway.core.config.cache_rules import CacheRules
from llm_gateway.core.config.models import RetryRules, Timeouts
from llm_gateway.flow.config.rows.models import StoredModel
from llm_gateway.infra.database.catalog.resource import CACHE_RULES, MODEL_NAMES, Column, Resource
from llm_gateway.infra.database.tables import JSON, id_column, metadata, time_columns

# A model without a row is served all the same.
table = sa.Table(
    "models",
    metadata,
    id_column(),
    sa.Column("name", sa.Text, nullable=False, unique=True),
    sa.Column("strategy", sa.Text, nullable=False, server_default="weighted_round_robin"),
    # provider_key to weight, in place of the provider's own.
    sa.Column("weights", JSON, nullable=False, server_default="{}"),
    # Public model names, in the order they are tried.
    sa.Column("fallbacks", JSON, nullable=False, server_default="[]"),
    sa.Column("context_fallbacks", JSON, nullable=False, server_default="[]"),
    sa.Column("policy_fallbacks", JSON, nullable=False, server_default="[]"),
    # {"connect", "first_content", "idle", "total"}, in seconds; what is left out is the gateway's setting.
    sa.Column("timeouts", JSON, nullable=False, server_default="{}"),
    # {"max_retries", "initial_backoff_ms", "max_backoff_ms", "backoff_factor", "jitter", "retry_cut"}, likewise.
    sa.Column("retry", JSON, nullable=False, server_default="{}"),
    sa.Column("affinity", sa.Text, nullable=True),
    # {"is_enabled", "ttl", "is_shared"}; NULL = no caching.
    sa.Column("cache", JSON, nullable=True),
    *time_columns(),
)


class ModelRow(msgspec.Struct, frozen=True, array_like=True):
    """A row as a load reads it: JSON as text."""

    id: int
    name: str
    strategy: str
    weights: str
    fallbacks: str
    context_fallbacks: str
    policy_fallbacks: str
    timeouts: str
    retry: str
    affinity: str | None
    cache: str | None


MODELS = Resource(
    stored=StoredModel,
    table=table,
    row=ModelRow,
    searched=("name",),
    name="name",
    columns={
        "weights": Column(dict[str, int], {}, "an object of provider_keys and whole numbers"),
        "fallbacks": Column(tuple[str, ...], (), MODEL_NAMES),
        "context_fallbacks": Column(tuple[str, ...], (), MODEL_NAMES),
        "policy_fallbacks": Column(tuple[str, ...], (), MODEL_NAMES),
        "timeouts": Column(
            Timeouts, Timeouts(), "an object of connect, first_content, idle and total, numbers of seconds"
        ),
        "retry": Column(
            RetryRules,
            RetryRules(),
            "an object of max_retries, initial_backoff_ms, max_backoff_ms, backoff_factor, jitter and retry_cut",
        ),
        "cache": Column(CacheRules | None, None, CACHE_RULES),
    },
)
