"""SQLAlchemy's asyncio engine without its ORM.

`sqlalchemy.ext.asyncio` imports the ORM for its sessions, which the gateway does not use: 8 MB, and a tenth of a
start. So the engine's module is imported with an empty package in place of that one. A later import of the package
gets all of it, with these same classes.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from types import ModuleType
from typing import TYPE_CHECKING

__all__ = ["AsyncConnection", "AsyncEngine", "create_async_engine"]

_PACKAGE = "sqlalchemy.ext.asyncio"


def _import_engine() -> ModuleType:
    if _PACKAGE in sys.modules:
        return importlib.import_module(f"{_PACKAGE}.engine")
    spec = importlib.util.find_spec(_PACKAGE)
    if spec is None:
        message = f"{_PACKAGE} is missing: install SQLAlchemy again"
        raise ModuleNotFoundError(message)
    sys.modules[_PACKAGE] = importlib.util.module_from_spec(spec)
    try:
        return importlib.import_module(f"{_PACKAGE}.engine")
    finally:
        del sys.modules[_PACKAGE]


if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import (  # noqa: TID251 - not imported at run time
        AsyncConnection,
        AsyncEngine,
        create_async_engine,
    )
else:
    _engine = _import_engine()
    AsyncConnection = _engine.AsyncConnection
    AsyncEngine = _engine.AsyncEngine
    create_async_engine = _engine.create_async_engine
