"""Imports a package without some of its modules, so that a worker does not hold for good what it never uses."""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import Any


def import_without(package: str, *modules: str) -> None:
    """Import `package`, but not the `modules` of it that its `__init__` imports, unless it is imported already.

    What `__init__` takes from them is there as well: the first use of a name imports its module. Call this before
    anything else imports the package.
    """
    if package in sys.modules:
        return
    stand_ins = {name: _StandIn(f"{package}.{name}") for name in modules}
    sys.modules.update({module.__name__: module for module in stand_ins.values()})
    try:
        names = vars(importlib.import_module(package))
    finally:
        for module in stand_ins.values():
            del sys.modules[module.__name__]
    missing = {name: found for name, value in names.items() if (found := _stand_in_of(value)) is not None}
    attributes = {name for name in missing if isinstance(names[name], _Attribute)}
    for name in missing:
        del names[name]

    def find(name: str) -> Any:  # noqa: ANN401 - as `getattr`
        if name not in missing:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        real = importlib.import_module(missing[name])
        for other, module in missing.items():
            if module == missing[name]:
                names[other] = getattr(real, other) if other in attributes else real
        return names[name]

    names["__getattr__"] = find


class _StandIn(ModuleType):
    """Takes the place of a module while its package is imported; it has whatever is asked of it."""

    def __getattr__(self, name: str) -> _Attribute:
        if name.startswith("__"):
            raise AttributeError(name)
        return _Attribute(self.__name__)


class _Attribute:
    """Takes the place of an attribute of a module."""

    def __init__(self, module: str) -> None:
        self.module = module


def _stand_in_of(value: object) -> str | None:
    if isinstance(value, _StandIn):
        return value.__name__
    return value.module if isinstance(value, _Attribute) else None
