"""Credentials in the database: their table and how its rows are read."""

from __future__ import annotations

import msgspec
import sqlalchemy as sa

from llm_gateway.core.config.cache_rules import CacheRules
from llm_gateway.core.config.limits import Limits
from llm_gateway.flow.config.rows.credentials import StoredCredential
from llm_gateway.infra.database.catalog.resource import (
    CACHE_RULES,
    LIMITS,
    MODEL_NAMES,
    Column,
    Resource,
    TimeColumn,
)
from llm_gateway.infra.database.tables import JSON, UnixMicros, id_column, metadata, time_columns

table = sa.Table(
    "credentials",
    metadata,
    id_column(),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("key_hash", sa.LargeBinary, nullable=False, unique=True),
    sa.Column("key_prefix", sa.Text, nullable=False),
    # NULL = all models.
    sa.Column("allowed_models", JSON, nullable=True),
    # Requests per second, NULL = unlimited.
    sa.Column("rate_limit", sa.Integer, nullable=True),
    sa.Column("is_enabled", sa.Boolean, nullable=False, server_default=sa.true()),
    *time_columns(),
    # {"is_enabled", "ttl", "is_shared"}; NULL = the model's rules.
    sa.Column("cache", JSON, nullable=True),
    # Names.
    sa.Column("tenant", sa.Text, nullable=True),
    sa.Column("project", sa.Text, nullable=True),
    # See `core.config.limits.Limits`; NULL = unlimited.
    sa.Column("limits", JSON, nullable=True),
    sa.Column("agent_limits", JSON, nullable=True),
    sa.Column("user_limits", JSON, nullable=True),
    sa.Column("trusts_attribution", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("require_pricing", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("expires_at", UnixMicros, nullable=True),
    # Of the key before the last rotation, which is accepted until then.
    sa.Column("previous_key_hash", sa.LargeBinary, nullable=True),
    sa.Column("previous_key_expires_at", UnixMicros, nullable=True),
    sa.Column("revoked_at", UnixMicros, nullable=True),
)


class CredentialRow(msgspec.Struct, frozen=True, array_like=True):
    """A row as a load reads it: JSON as text."""

    id: int
    name: str
    key_hash: bytes
    allowed_models: str | None
    rate_limit: int | None
    is_enabled: bool | int
    cache: str | None
    tenant: str | None = None
    project: str | None = None
    limits: str | None = None
    agent_limits: str | None = None
    user_limits: str | None = None
    trusts_attribution: bool | int = False
    require_pricing: bool | int = False
    expires_at: int | str | None = None
    previous_key_hash: bytes | None = None
    previous_key_expires_at: int | str | None = None
    revoked_at: int | str | None = None


CREDENTIALS = Resource(
    stored=StoredCredential,
    table=table,
    row=CredentialRow,
    searched=("name", "key_prefix", "tenant", "project"),
    columns={
        # A credential whose list cannot be read may use no model.
        "allowed_models": Column(tuple[str, ...] | None, (), f"{MODEL_NAMES}, or null"),
        "cache": Column(CacheRules | None, None, CACHE_RULES),
        "rate_limit": Column(int, None, "a whole number, or null", (int,)),
        "limits": Column(Limits | None, None, LIMITS),
        "agent_limits": Column(Limits | None, None, LIMITS),
        "user_limits": Column(Limits | None, None, LIMITS),
        "expires_at": TimeColumn(None),
        "previous_key_expires_at": TimeColumn(0),
        "revoked_at": TimeColumn(0),
    },
)
