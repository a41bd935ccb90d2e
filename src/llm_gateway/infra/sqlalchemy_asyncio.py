"""SQLAlchemy's asyncio engine without the ORM, which its sessions import: 8 MB, and a tenth of a start."""

from llm_gateway.core.partial_imports import import_without

import_without("sqlalchemy.ext.asyncio", "scoping", "session")

from sqlalchemy.ext.asyncio import (  # noqa: E402, TID251 - this is the place
    AsyncConnection,
    AsyncEngine,
    create_async_engine,
)

__all__ = ["AsyncConnection", "AsyncEngine", "create_async_engine"]
