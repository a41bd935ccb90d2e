"""Serves the application over HTTP: connection rules, processes, signals; known to the command line alone."""

from __future__ import annotations

import importlib
import sys
from types import ModuleType


def _import_uvicorn() -> None:
    """Import uvicorn without the module of its command line, which imports click: a megabyte.

    Here, because nothing of this package is imported before. `uvicorn.run` and `uvicorn.main` are there when used.
    """
    if "uvicorn" in sys.modules:
        return
    command_line = ModuleType("uvicorn.main")
    vars(command_line).update(dict.fromkeys(("Server", "main", "run")))
    sys.modules[command_line.__name__] = command_line
    try:
        names = vars(importlib.import_module("uvicorn"))
    finally:
        del sys.modules[command_line.__name__]
    names["Server"] = importlib.import_module("uvicorn.server").Server
    del names["main"], names["run"]

    def find(name: str) -> object:
        if name not in {"main", "run"}:
            message = f"module 'uvicorn' has no attribute {name!r}"
            raise AttributeError(message)
        real = importlib.import_module("uvicorn.main")
        names.update(main=real.main, run=real.run)
        return names[name]

    names["__getattr__"] = find


_import_uvicorn()
