"""The composition root: the only room that knows every part, and the way in for the server and the CLI.

What it offers is imported when it is first asked for, so that a start decides what comes first.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from llm_gateway.app.asgi import Application, create_app
    from llm_gateway.app.client_apis import warn_of_client_apis
    from llm_gateway.app.operations.commands import (
        DemoAccess,
        back_up,
        create_credential,
        migrate_down,
        migrate_up,
        schema_version,
        seed_demo,
    )
    from llm_gateway.app.operations.preparing import Prepared, prepare
    from llm_gateway.app.operations.spool import Spool, ship_spool, show_spool
    from llm_gateway.infra.logs.setup import set_up_logging
    from llm_gateway.infra.logs.standard_streams import standard_streams
    from llm_gateway.infra.startup_error import StartupError

__all__ = [
    "Application",
    "DemoAccess",
    "Prepared",
    "Spool",
    "StartupError",
    "back_up",
    "create_app",
    "create_credential",
    "migrate_down",
    "migrate_up",
    "prepare",
    "schema_version",
    "seed_demo",
    "set_up_logging",
    "ship_spool",
    "show_spool",
    "standard_streams",
    "warn_of_client_apis",
]

_MODULES: Final = {
    "llm_gateway.app.asgi": ("Application", "create_app"),
    "llm_gateway.app.client_apis": ("warn_of_client_apis",),
    "llm_gateway.app.operations.commands": (
        "DemoAccess",
        "back_up",
        "create_credential",
        "migrate_down",
        "migrate_up",
        "schema_version",
        "seed_demo",
    ),
    "llm_gateway.app.operations.preparing": ("Prepared", "prepare"),
    "llm_gateway.app.operations.spool": ("Spool", "ship_spool", "show_spool"),
    "llm_gateway.infra.logs.setup": ("set_up_logging",),
    "llm_gateway.infra.logs.standard_streams": ("standard_streams",),
    "llm_gateway.infra.startup_error": ("StartupError",),
}
_HOMES: Final = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> Any:  # noqa: ANN401 - as `getattr`
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
