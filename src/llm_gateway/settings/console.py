"""Settings of the console, and of the path that the gateway is reached below."""

from __future__ import annotations

import re
from typing import Literal

from pydantic import Field, SecretStr, field_validator

from llm_gateway.settings.values import SettingsSection

# Segments of characters that need no encoding, and that are not only dots, which clients resolve.
_PREFIX = re.compile(r"(/(?!\.+(/|$))[A-Za-z0-9._~-]+)+")


class ConsoleSettings(SettingsSection):
    """The console and its sign-in."""

    console: Literal["on", "off"] = Field("on", description="Serve the console below /console.")
    viewer_key: SecretStr | None = Field(
        None,
        description="Key that opens the console and the admin API for reading only: GET and HEAD. Unset: there is"
        " none.",
    )
    console_session_hours: float = Field(
        12.0, gt=0, le=8760, description="Hours after which the console asks for a key again."
    )
    root_path: str | None = Field(
        None,
        description="Path that a proxy serves the gateway below, such as /gw. Requests are accepted with and without"
        " it, and links begin with it.",
    )

    @field_validator("root_path")
    @classmethod
    def _is_prefix(cls, path: str | None) -> str | None:
        if path is not None and _PREFIX.fullmatch(path) is None:
            raise ValueError(
                f"{path[:100]!r} is not a path that URLs can begin with; write it as /gw or /tools/gw: with / at the "
                "start, none at the end, and letters, digits, '-', '.', '_' or '~' between"
            )
        return path
