"""Price overrides in the database: their table and how its rows are read."""

from __future__ import annotations

import msgspec
import sqlalchemy as sa

from llm_gateway.flow.config.rows.prices import StoredPrice
from llm_gateway.infra.database.catalog.resource import Column, Resource, TimeColumn
from llm_gateway.infra.database.tables import JSON, UnixMicros, id_column, metadata, time_columns

table = sa.Table(
    "prices",
    metadata,
    id_column(),
    # A provider_key.
    sa.Column("provider", sa.Text, nullable=False),
    sa.Column("upstream_model", sa.Text, nullable=False),
    # {unit: decimal USD, as text}
    sa.Column("prices", JSON, nullable=False),
    # When they apply: inclusive, exclusive; NULL = always.
    sa.Column("valid_from", UnixMicros, nullable=True),
    sa.Column("valid_until", UnixMicros, nullable=True),
    *time_columns(),
)


class PriceRow(msgspec.Struct, frozen=True, array_like=True):
    """A row as a load reads it: JSON as text, times as Unix microseconds."""

    id: int
    provider: str
    upstream_model: str
    prices: str
    valid_from: int | str | None
    valid_until: int | str | None

    @property
    def label(self) -> str:
        return f"{self.provider}/{self.upstream_model}"


PRICES = Resource(
    stored=StoredPrice,
    table=table,
    row=PriceRow,
    searched=("provider", "upstream_model"),
    columns={
        "prices": Column(dict[str, str], {}, "an object of units and decimal USD as text"),
        # A row whose times cannot be read does not apply.
        "valid_from": TimeColumn(None),
        "valid_until": TimeColumn(None),
    },
)
