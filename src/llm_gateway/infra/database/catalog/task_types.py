"""Task types in the database: their table and how its rows are read."""

from __future__ import annotations

import msgspec
import sqlalchemy as sa

from llm_gateway.flow.config.rows.task_types import StoredTaskType
from llm_gateway.infra.database.catalog.resource import MODEL_NAMES, Column, Resource
from llm_gateway.infra.database.tables import JSON, id_column, metadata, time_columns

table = sa.Table(
    "task_types",
    metadata,
    id_column(),
    sa.Column("name", sa.Text, nullable=False, unique=True),
    # Public model names, best first.
    sa.Column("models", JSON, nullable=False),
    *time_columns(),
)


class TaskTypeRow(msgspec.Struct, frozen=True, array_like=True):
    """A row as a load reads it: JSON as text."""

    id: int
    name: str
    models: str


TASK_TYPES = Resource(
    stored=StoredTaskType,
    table=table,
    row=TaskTypeRow,
    searched=("name",),
    name="name",
    columns={"models": Column(tuple[str, ...], (), MODEL_NAMES)},
)
