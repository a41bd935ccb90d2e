"""Tenants, projects and budgets in the database: their tables and how their rows are read."""

from __future__ import annotations

import msgspec
import sqlalchemy as sa

from llm_gateway.core.config.limits import Limits
from llm_gateway.flow.config.rows.budgets import StoredBudget
from llm_gateway.flow.config.rows.tenants import StoredProject, StoredTenant
from llm_gateway.infra.database.catalog.resource import LIMITS, MODEL_NAMES, Column, Resource, TimeColumn
from llm_gateway.infra.database.tables import JSON, UnixMicros, id_column, metadata, time_columns

tenants = sa.Table(
    "tenants",
    metadata,
    id_column(),
    sa.Column("name", sa.Text, nullable=False, unique=True),
    # See `core.config.limits.Limits`; NULL = unlimited.
    sa.Column("limits", JSON, nullable=True),
    sa.Column("is_enabled", sa.Boolean, nullable=False, server_default=sa.true()),
    *time_columns(),
)

projects = sa.Table(
    "projects",
    metadata,
    id_column(),
    sa.Column("name", sa.Text, nullable=False, unique=True),
    # A tenant's name.
    sa.Column("tenant", sa.Text, nullable=True),
    sa.Column("limits", JSON, nullable=True),
    sa.Column("is_enabled", sa.Boolean, nullable=False, server_default=sa.true()),
    *time_columns(),
)

budgets = sa.Table(
    "budgets",
    metadata,
    id_column(),
    sa.Column("name", sa.Text, nullable=False, unique=True),
    sa.Column("scope", sa.Text, nullable=False),
    sa.Column("subject", sa.Text, nullable=True),
    sa.Column("amount_nano_usd", sa.BigInteger, nullable=False),
    sa.Column("period", sa.Text, nullable=False),
    # NULL = all models.
    sa.Column("models", JSON, nullable=True),
    sa.Column("is_enabled", sa.Boolean, nullable=False, server_default=sa.true()),
    # Requests that began earlier do not count.
    sa.Column("counts_from", UnixMicros, nullable=False),
    *time_columns(),
)


class TenantRow(msgspec.Struct, frozen=True, array_like=True):
    """A row as a load reads it: JSON as text."""

    id: int
    name: str
    limits: str | None
    is_enabled: bool | int


class ProjectRow(msgspec.Struct, frozen=True, array_like=True):
    """A row as a load reads it: JSON as text."""

    id: int
    name: str
    tenant: str | None
    limits: str | None
    is_enabled: bool | int


class BudgetRow(msgspec.Struct, frozen=True, array_like=True):
    """A row as a load reads it: JSON as text, times as Unix microseconds."""

    id: int
    name: str
    scope: str
    subject: str | None
    amount_nano_usd: int
    period: str
    models: str | None
    is_enabled: bool | int
    counts_from: int | str


TENANTS = Resource(
    stored=StoredTenant,
    table=tenants,
    row=TenantRow,
    searched=("name",),
    name="name",
    columns={"limits": Column(Limits | None, None, LIMITS)},
)

PROJECTS = Resource(
    stored=StoredProject,
    table=projects,
    row=ProjectRow,
    searched=("name",),
    name="name",
    columns={"limits": Column(Limits | None, None, LIMITS)},
)

BUDGETS = Resource(
    stored=StoredBudget,
    table=budgets,
    row=BudgetRow,
    searched=("name", "subject"),
    name="name",
    columns={
        # SQLite stores any value, in number columns too.
        "amount_nano_usd": Column(int, 0, "a whole number", (int,)),
        "models": Column(tuple[str, ...] | None, None, f"{MODEL_NAMES} and globs, or null"),
        "counts_from": TimeColumn(0),
    },
)
