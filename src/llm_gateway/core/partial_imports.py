"""Imports a package without some of its modules, so that a worker does not hold for good what it never uses."""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import Any


def import_without(package: str, *modules: str) -> None:
    """Import `package`, but not the `modules` of it that its `__init__` imports, unless it is imported already.

    What `__init__` takes from them is there as well: the first use of a name imports its module. A package that
    cannot be imported without them is imported whole. Call this before anything else imports the package.
    """
    if package in sys.modules:
        return
    before = set(sys.modules)
    sys.modules.update({name: _StandIn(name) for name in (f"{package}.{module}" for module in modules)})
    try:
        names = vars(importlib.import_module(package))
    except Exception:  # noqa: BLE001 - another version of it may need them at once
        _forget(package, before)
        try:
            importlib.import_module(package)
        except BaseException:
            _forget(package, before)
            raise
        return
    for module in modules:
        del sys.modules[f"{package}.{module}"]
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


def _forget(package: str, before: set[str]) -> None:
    """Drop what was imported of a package that could not be imported."""
    for name in [name for name in sys.modules.keys() - before if f"{name}.".startswith(f"{package}.")]:
        del sys.modules[name]


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
