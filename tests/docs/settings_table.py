"""What the documents must say of each setting, derived from the settings themselves."""

from __future__ import annotations

from dataclasses import fields

from llm_gateway.settings import Settings
from llm_gateway.settings.values import Setting


def documented() -> dict[str, tuple[str, str]]:
    """Return default and meaning by environment variable; "" is the default of a setting that is unset."""
    return {
        field.name.upper(): (_written(field.default), field.metadata[Setting].description)
        for field in fields(Settings)
    }


def _written(default: object) -> str:
    if default is None or default == ():
        return ""
    if isinstance(default, tuple):
        return ",".join(map(str, default))
    if isinstance(default, bool):
        return str(default).lower()
    if isinstance(default, float):
        return f"{default:g}"
    return str(default)


def table_row(name: str, default: str, meaning: str) -> str:
    """Return the setting's row of docs/settings.md."""
    shown = f"`{default}`" if default else "unset"
    return f"| `{name}` | {shown} | {meaning} |"
