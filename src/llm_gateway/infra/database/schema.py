"""Every table of the database, wherever it is defined: what the migrations are compared with."""

from __future__ import annotations

from llm_gateway.infra.database.catalog import credentials, models, providers, task_types
from llm_gateway.infra.database.tables import metadata

CATALOG_TABLES = (providers.table, credentials.table, models.table, task_types.table)

__all__ = ["CATALOG_TABLES", "metadata"]
