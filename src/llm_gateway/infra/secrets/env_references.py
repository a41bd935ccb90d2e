"""Provider secrets as the catalog shows them: references to environment variables, and masks."""

from __future__ import annotations

import re
from collections.abc import Mapping

_ENVIRONMENT_REFERENCE = re.compile(r"env:([A-Za-z_][A-Za-z0-9_]*)")
# Admins may name variables, but must not be able to send the gateway's own keys to a server they control.
OWN_VARIABLES = frozenset(
    {
        "ADMIN_KEY",
        "BACKUP_DB_URL",
        "BUDGET_WEBHOOK_SECRET",
        "DB_URL",
        "LLM_PROXY_SECRET",
        "MONGO_URI",
        "OPS_TOKEN",
        "REDIS_URL",
        "SECRET_KEY",
        "TOKEN_SECRET",
        "VIEWER_KEY",
    }
)


class MissingVariable(Exception):
    """An `env:NAME` reference cannot be resolved; the message names the variable and never its value."""


def is_reference(text: str) -> bool:
    """Tell whether `text` names an environment variable, and is not itself a secret."""
    return text.startswith("env:")


def resolve_reference(reference: str, environ: Mapping[str, str]) -> str:
    """Return the variable's value without surrounding blanks; raise MissingVariable."""
    match = _ENVIRONMENT_REFERENCE.fullmatch(reference)
    if match is None:
        raise MissingVariable("an environment reference must look like env:NAME")
    name = match.group(1)
    if name.upper() in OWN_VARIABLES:
        raise MissingVariable(
            f"environment variable {name} is a setting of the gateway and must not be sent to a provider"
        )
    value = environ.get(name, "").strip()
    if not value:
        raise MissingVariable(f"environment variable {name} is not set")
    if not value.isprintable() or not value.isascii():
        raise MissingVariable(
            f"environment variable {name} holds characters that are not allowed in an HTTP header"
        )
    return value


def mask(secret: str) -> str:
    """Return a form that may be shown: the last four characters of a secret of 16 or more, else none."""
    return "***" + (secret[-4:] if len(secret) >= 16 else "")
