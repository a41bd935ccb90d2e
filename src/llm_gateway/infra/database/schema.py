"""Every table of the database, wherever it is defined: what the migrations are compared with."""

from __future__ import annotations

from llm_gateway.infra.database import budget_tables, rollup_tables, sessions
from llm_gateway.infra.database.catalog import accounts, credentials, models, prices, providers, task_types
from llm_gateway.infra.database.tables import metadata
from llm_gateway.infra.database.telemetry import table as telemetry_table

CATALOG_TABLES = (
    providers.table,
    credentials.table,
    models.table,
    task_types.table,
    accounts.tenants,
    accounts.projects,
    accounts.budgets,
    prices.table,
)

__all__ = ["CATALOG_TABLES", "budget_tables", "metadata", "rollup_tables", "sessions", "telemetry_table"]
