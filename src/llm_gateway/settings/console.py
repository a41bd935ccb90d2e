"""Settings of the console, and of the path that the gateway is reached below."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from llm_gateway.core.secret import Secret
from llm_gateway.settings.values import setting

# Segments of characters that need no encoding, and that are not only dots, which clients resolve.
_PREFIX = re.compile(r"(/(?!\.+(/|$))[A-Za-z0-9._~-]+)+")


def _read_prefix(path: str) -> str:
    if _PREFIX.fullmatch(path) is None:
        raise ValueError(
            f"{path[:100]!r} is not a path that URLs can begin with; write it as /gw or /tools/gw: with / at the "
            "start, none at the end, and letters, digits, '-', '.', '_' or '~' between"
        )
    return path


@dataclass(frozen=True, kw_only=True)
class ConsoleSettings:
    """The console and its sign-in."""

    console: Literal["on", "off"] = setting("on", description="Serve the console below /console.")
    viewer_key: Secret | None = setting(
        None,
        description="Key that opens the console and the admin API for reading only: GET and HEAD. Unset: there is"
        " none.",
    )
    console_session_hours: float = setting(
        12.0, gt=0, le=8760, description="Hours after which the console asks for a key again."
    )
    root_path: str | None = setting(
        None,
        read=_read_prefix,
        description="Path that a proxy serves the gateway below, such as /gw. Requests are accepted with and without"
        " it, and links begin with it.",
    )
