"""Reads sections of settings from variables, and reports each fault in a line of its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import TYPE_CHECKING, TypeVar, get_type_hints

from llm_gateway.core.secret import Secret
from llm_gateway.settings.values import Setting, clean, to_value, without_none

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

_Section = TypeVar("_Section", bound="DataclassInstance")


class InvalidSettings(Exception):
    """Some settings are invalid; `lines` has one message for each, which names the variable and no secret."""

    def __init__(self, lines: tuple[str, ...]) -> None:
        super().__init__("; ".join(lines))
        self.lines = lines


def setting_names(section: type[DataclassInstance]) -> frozenset[str]:
    """Return the names of a section's settings; those of the variables are the same in upper case."""
    return frozenset(field.name for field in fields(section))


def read_settings(section: type[_Section], variables: Mapping[str, str]) -> _Section:
    """Return the settings that `variables` says, by upper-case name; empty ones are unset. Raises InvalidSettings."""
    kinds = get_type_hints(section)
    values: dict[str, object] = {}
    faults: list[str] = []
    for field in fields(section):
        name = field.name.upper()
        if not (text := variables.get(name)):
            continue
        kind, setting = kinds[field.name], field.metadata[Setting]
        try:
            text = clean(text)
            values[field.name] = _value(text, kind, setting)
        except ValueError as error:
            faults.append(f"{name}{_shown(text) if _may_show(kind, setting) else ''}: {error}.")
    if faults:
        raise InvalidSettings(tuple(faults))
    return section(**values)


def _value(text: str, kind: object, setting: Setting) -> object:
    return to_value(text, kind, setting.bounds) if setting.read is None else setting.read(text)


def _may_show(kind: object, setting: Setting) -> bool:
    return setting.is_shown and without_none(kind) is not Secret


def _shown(text: str) -> str:
    return f"={text if text.isprintable() else ascii(text)}"
