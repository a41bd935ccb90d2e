"""Loads provider kinds from installed packages that name them in the entry point group `llm_gateway.providers`."""

from __future__ import annotations

from collections.abc import Collection
from importlib.metadata import EntryPoint, entry_points
from typing import Final

from loguru import logger

from llm_gateway.infra.price_book.shipped import shipped_price_book
from llm_gateway.infra.provider_guard import GuardedAdapter
from llm_gateway.infra.startup_error import StartupError
from llm_gateway.providers.base import Adapter
from llm_gateway.providers.plugin_check import adapter_faults

GROUP: Final = "llm_gateway.providers"


def load_provider_plugins(builtin: Collection[str]) -> dict[str, Adapter]:
    """Return the adapters of all plug-ins by the names of their kinds; `builtin` are the names that are taken.

    A plug-in that cannot be imported is logged and left out: its providers are faulty rows. Raise StartupError, which
    names the packages, for names that are taken and for adapters that do not keep the contract. Without plug-ins this
    takes 2 ms.
    """
    found = sorted(entry_points(group=GROUP), key=lambda point: (point.name, point.value))
    if clashes := _clashes(found, builtin):
        raise StartupError("\n".join(clashes))
    adapters: dict[str, Adapter] = {}
    wrong: list[str] = []
    for point in found:
        try:
            loaded = point.load()
        except (Exception, SystemExit) as error:  # noqa: BLE001 - code of others, which may raise anything
            logger.opt(exception=error).error(
                "The provider kind {!r} is missing: {} cannot be imported. Its providers are left out.",
                *(point.name, _origin(point)),
            )
            continue
        faults = adapter_faults(loaded, point.name, shipped_price_book())
        wrong += [f"{_origin(point)} is no usable provider plug-in: {fault}." for fault in faults]
        if not faults:
            adapters[point.name] = GuardedAdapter(loaded)
    if wrong:
        raise StartupError("\n".join([*wrong, "Correct or uninstall what is named above."]))
    for point in found:
        if point.name in adapters:
            logger.info("Provider kind {!r} comes from {}.", point.name, _origin(point))
    return adapters


def _clashes(found: Collection[EntryPoint], builtin: Collection[str]) -> list[str]:
    clashes = []
    by_name: dict[str, EntryPoint] = {}
    for point in found:
        first = by_name.setdefault(point.name, point)
        if point.name in builtin:
            clashes.append(
                f"{_origin(point)} offers the provider kind {point.name!r}, which is built in. Give it another name, "
                "or uninstall the package."
            )
        elif first is not point:
            clashes.append(
                f"{_origin(first)} and {_origin(point)} both offer the provider kind {point.name!r}. Uninstall one "
                "of them."
            )
    return clashes


def _origin(point: EntryPoint) -> str:
    """Return the package and the line in it, such as `acme-llm 1.0 (acme = acme_llm:ADAPTER)`."""
    package = "a package" if point.dist is None else f"{point.dist.name} {point.dist.version}"
    return f"{package} ({point.name} = {point.value})"
