"""What commands share: the gateway they work with, and how their failures are reported."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable
from functools import wraps
from typing import Any, NoReturn, ParamSpec

_P = ParamSpec("_P")
# 128 + SIGINT, as in shells.
_INTERRUPTED = 130


def reports_failures(command: Callable[_P, int | None]) -> Callable[_P, NoReturn]:
    """Turn a failure that an operator can fix into one line on standard error and an exit code."""

    @wraps(command)
    def wrapper(*args: _P.args, **kwargs: _P.kwargs) -> NoReturn:
        from llm_gateway.cli.failures import explain  # noqa: PLC0415

        try:
            code = command(*args, **kwargs) or 0
        except KeyboardInterrupt:
            code = _INTERRUPTED
        except Exception as error:
            explained = explain(error)
            if explained is None:
                raise
            code, lines = explained
            for line in lines:
                print(f"llm-gateway: {line}", file=sys.stderr)
        raise SystemExit(code)

    return wrapper


def maintenance() -> tuple[Any, Any]:
    """Import the gateway, set up logging, and return the `app` module and the settings."""
    from llm_gateway.cli.settings_loader import load_settings  # noqa: PLC0415

    settings = load_settings()
    # A short command makes little garbage, while its imports create many objects that each collection would scan.
    gc.disable()
    from llm_gateway import app  # noqa: PLC0415

    app.set_up_logging(settings.log_level, debug=settings.debug, form=settings.log_format)
    return app, settings
