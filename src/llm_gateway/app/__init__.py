"""The composition root: the only room that knows every part, and the way in for the server and the CLI."""

from llm_gateway.app.asgi import Application, create_app
from llm_gateway.app.client_apis import warn_of_client_apis
from llm_gateway.app.operations.commands import (
    DemoAccess,
    Prepared,
    back_up,
    create_credential,
    migrate_down,
    migrate_up,
    prepare,
    schema_version,
    seed_demo,
)
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
