"""The composition root: the only room that knows every part, and the way in for the server and the CLI."""

from llm_gateway.app.asgi import Application, create_app
from llm_gateway.app.commands import (
    DemoAccess,
    Prepared,
    create_credential,
    migrate_down,
    migrate_up,
    prepare,
    schema_version,
    seed_demo,
)
from llm_gateway.infra.logs.setup import set_up_logging
from llm_gateway.infra.startup_error import StartupError

__all__ = [
    "Application",
    "DemoAccess",
    "Prepared",
    "StartupError",
    "create_app",
    "create_credential",
    "migrate_down",
    "migrate_up",
    "prepare",
    "schema_version",
    "seed_demo",
    "set_up_logging",
]
