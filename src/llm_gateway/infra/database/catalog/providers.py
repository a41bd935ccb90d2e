"""Providers in the database: their table and how its rows are read."""

from __future__ import annotations

import msgspec
import sqlalchemy as sa

from llm_gateway.core.config.providers import ClientCredentials
from llm_gateway.flow.config.rows.providers import StoredProvider
from llm_gateway.infra.database.catalog.resource import Column, Resource
from llm_gateway.infra.database.tables import JSON, id_column, metadata, time_columns

table = sa.Table(
    "providers",
    metadata,
    id_column(),
    sa.Column("provider_key", sa.Text, nullable=False, unique=True),
    sa.Column("provider_type", sa.Text, nullable=False),
    sa.Column("api_base", sa.Text, nullable=False),
    # "env:NAME", or sealed and bound to this row's id; NULL for an upstream that needs none.
    sa.Column("secret", sa.Text, nullable=True),
    sa.Column("model_mapping", JSON, nullable=False, server_default="{}"),
    sa.Column("weight", sa.Integer, nullable=False, server_default="1"),
    sa.Column("is_enabled", sa.Boolean, nullable=False, server_default=sa.true()),
    *time_columns(),
    # {"token_url", "client_id", "scope"}; NULL = the secret itself is sent to the provider.
    sa.Column("oauth2", JSON, nullable=True),
    sa.Column("api_version", sa.Text, nullable=True),
    # NULL = the kind's own.
    sa.Column("stream_usage", sa.Boolean, nullable=True),
    # Seconds, NULL = no probes.
    sa.Column("probe_interval", sa.Double, nullable=True),
    # Whose prices apply; NULL = the kind's.
    sa.Column("price_provider", sa.Text, nullable=True),
)


class ProviderRow(msgspec.Struct, frozen=True, array_like=True):
    """A row as a load reads it: the secret sealed, JSON as text."""

    id: int
    provider_key: str
    provider_type: str
    api_base: str
    secret: str | None
    model_mapping: str
    weight: int
    is_enabled: bool | int
    oauth2: str | None
    api_version: str | None
    stream_usage: bool | int | None
    probe_interval: float | None
    price_provider: str | None = None


PROVIDERS = Resource(
    stored=StoredProvider,
    table=table,
    row=ProviderRow,
    searched=("provider_key", "api_base", "provider_type"),
    name="provider_key",
    columns={
        "model_mapping": Column(dict[str, str], {}, "an object of public names and upstream names"),
        "oauth2": Column(
            ClientCredentials | None, None, "an object of token_url, client_id and scope, or null"
        ),
        # SQLite stores any value, in number columns too.
        "weight": Column(int, 0, "a whole number", (int,)),
        "probe_interval": Column(float, None, "a number of seconds, or null", (int, float)),
    },
)


def secret_associated_data(provider_id: int) -> str:
    """Return the associated data of a provider's sealed secret: it opens in no other row."""
    return f"provider:{provider_id}:api_key"
