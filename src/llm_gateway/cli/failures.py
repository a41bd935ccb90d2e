"""Says which failures an operator can mend, and tells them without a traceback."""

from __future__ import annotations

import sys

from llm_gateway.cli.reading_settings import WrongSettings

# Exit codes: it did not work; it cannot work until a setting is mended.
_FAILED = 1
_CANNOT_START = 2


def explain(error: Exception) -> tuple[int, tuple[str, ...]] | None:
    """Return the exit code and the lines to show, or None for a fault of ours."""
    from llm_gateway.core.errors import GatewayError  # noqa: PLC0415 - only when something failed
    from llm_gateway.server.processes.listener import CannotServe  # noqa: PLC0415

    if isinstance(error, WrongSettings):
        return _CANNOT_START, error.lines
    if isinstance(error, CannotServe):
        return _CANNOT_START, (str(error),)
    if isinstance(error, GatewayError):
        return _FAILED, (error.message,)
    # Whoever raised it has imported it: nobody else need.
    app = sys.modules.get("llm_gateway.app")
    if app is not None and isinstance(error, app.StartupError):
        return _CANNOT_START, (str(error),)
    return None
