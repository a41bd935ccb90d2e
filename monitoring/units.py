"""Writes numbers as Grafana shows them in a panel's unit, near enough for a picture."""

from __future__ import annotations

from typing import Final

from monitoring.model import Unit

_SUFFIXES: Final[dict[Unit, str]] = {"reqps": " req/s", "ops": " /s", "cps": " /s", "wps": " /s"}
_BYTES: Final = ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB"))
_LARGE: Final = ((1e9, "G"), (1e6, "M"), (1e3, "k"))


def shown(value: float, unit: Unit) -> str:
    """Return a value with its unit."""
    if unit == "percentunit":
        return f"{_plain(value * 100)} %"
    if unit == "currencyUSD":
        return f"${_plain(value)}"
    if unit == "s":
        return _seconds(value)
    if unit == "bytes":
        for size, name in _BYTES:
            if value >= size:
                return f"{_plain(value / size)} {name}"
        return f"{_plain(value)} B"
    return _plain(value) + _SUFFIXES.get(unit, "")


def _seconds(value: float) -> str:
    if value == 0 or value >= 1:
        return f"{_plain(value)} s"
    return f"{_plain(value * 1000)} ms" if value >= 0.001 else f"{_plain(value * 1e6)} µs"


def _plain(value: float) -> str:
    for size, name in _LARGE:
        if abs(value) >= size:
            return f"{value / size:.3g} {name}"
    return f"{value:.3g}"
