"""Explains the failures that an operator can fix, without a traceback."""

from __future__ import annotations

import sys

from llm_gateway.cli.settings_loader import InvalidSettings

# Exit codes: the command failed; it cannot run until a setting is corrected.
_FAILED = 1
_CANNOT_START = 2


def explain(error: Exception) -> tuple[int, tuple[str, ...]] | None:
    """Return the exit code and the lines to print; None for a bug, which deserves its traceback."""
    from llm_gateway.core.errors import GatewayError  # noqa: PLC0415 - only when something failed
    from llm_gateway.server.processes.listener import CannotServe  # noqa: PLC0415

    if isinstance(error, InvalidSettings):
        return _CANNOT_START, error.lines
    if isinstance(error, CannotServe):
        return _CANNOT_START, (str(error),)
    if isinstance(error, GatewayError):
        return _FAILED, tuple(error.message.splitlines())
    # Only looked up: what raised a StartupError has imported the module already.
    app = sys.modules.get("llm_gateway.app")
    if app is not None and isinstance(error, app.StartupError):
        return _CANNOT_START, tuple(str(error).splitlines())
    return None
