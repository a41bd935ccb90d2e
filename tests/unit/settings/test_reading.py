"""Sections are read from variables; each fault has a line, which names the variable and no secret."""

from __future__ import annotations

from dataclasses import Field, fields
from pathlib import Path
from typing import Any, get_type_hints

import pytest

from llm_gateway.core.secret import Secret
from llm_gateway.settings import Settings
from llm_gateway.settings.reading import InvalidSettings, read_settings
from llm_gateway.settings.serving import ServingSettings
from llm_gateway.settings.values import Setting, to_value, without_none

KINDS = get_type_hints(Settings)


def refused(**variables: str) -> tuple[str, ...]:
    with pytest.raises(InvalidSettings) as caught:
        read_settings(Settings, variables)
    assert str(caught.value) == "; ".join(caught.value.lines)
    return caught.value.lines


def test_what_is_not_said_has_its_default() -> None:
    assert read_settings(Settings, {}) == Settings()
    assert read_settings(Settings, {"PORT": "", "UNKNOWN": "x", "port": "1"}) == Settings()


def test_a_section_is_read_alone() -> None:
    made = read_settings(ServingSettings, {"PORT": "1", "DATA_DIR": "/x", "ADMIN_KEY": "not of this section"})
    assert made == ServingSettings(port=1, data_dir=Path("/x"))


def test_each_fault_has_a_line() -> None:
    assert set(refused(PORT=" 65536 ", DEBUG="perhaps", LOG_FORMAT="xml", LLM_TIMEOUT="0")) == {
        "PORT=65536: the value must be a whole number from 0 to 65,535.",
        "DEBUG=perhaps: the value must be true or false.",
        "LOG_FORMAT=xml: the value must be text or json.",
        "LLM_TIMEOUT=0: the value must be a number above 0.",
    }


@pytest.mark.parametrize("field", fields(Settings), ids=lambda field: field.name)
def test_no_line_shows_a_secret(field: Field[Any]) -> None:
    """A control character makes the value of any setting invalid."""
    [line] = refused(**{field.name.upper(): "hush\x00hush"})
    hides = KINDS[field.name] == Secret | None or not field.metadata[Setting].is_shown
    assert line.startswith(f"{field.name.upper()}: " if hides else f"{field.name.upper()}='hush\\x00hush': ")
    assert line.isprintable()


def test_what_is_secret_stays_so_when_its_own_check_refuses_it() -> None:
    lines = refused(BUDGET_WEBHOOK_URL="ftp://me:hush@host", DOWNSTREAM_SERVICES="me:hush@host")
    assert len(lines) == 2
    assert "hush" not in "".join(lines)
    settings = read_settings(Settings, {"ADMIN_KEY": "hush", "DB_URL": "postgresql://me:hush@host/name"})
    assert "hush" not in repr(settings)


@pytest.mark.parametrize("field", fields(Settings), ids=lambda field: field.name)
def test_each_setting_can_be_read(field: Field[Any]) -> None:
    """Each has a reader of its own, or a type that texts can be read as; no default breaks its own bounds."""
    setting, kind = field.metadata[Setting], without_none(KINDS[field.name])
    assert setting.description.endswith((".", ")"))
    if setting.read is not None:
        assert not setting.bounds
        return
    assert setting.bounds.keys() in ({"ge"}, {"gt"}, {"ge", "le"}, {"gt", "le"}) or not setting.bounds
    assert kind in {int, float} or not setting.bounds
    if field.default is not None:
        assert to_value(str(field.default), kind, setting.bounds) == field.default
    else:
        # A type that nothing can be read as is a TypeError.
        text = "1" if kind in {int, float} else "x"
        assert isinstance(to_value(text, kind, setting.bounds), kind)  # type: ignore[arg-type]


def test_a_settings_value_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        Settings().port = 1  # type: ignore[misc]
