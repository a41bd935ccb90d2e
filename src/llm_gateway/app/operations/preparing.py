"""Prepares a start. Nearly all of the gateway is imported on the way, while a thread derives the keys."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from llm_gateway.app.keys import find_keys, store_address
from llm_gateway.infra.startup_error import StartupError
from llm_gateway.settings import Settings


class Prepared(msgspec.Struct, frozen=True, kw_only=True):
    """What a start found or created."""

    # The file of the admin key; None when it came from ADMIN_KEY.
    admin_key_path: Path | None


async def prepare(settings: Settings, *, fills: bool = True) -> Prepared:
    """Create the data folder and the keys, migrate the schema, fill a new catalog; raise StartupError.

    The error says what to fix. `fills=False` leaves a new catalog empty. Raises StoreUnavailable when the database
    cannot be used and there is no last good file of it.
    """
    make_data_dir(settings.data_dir)
    # Before the keys: what is wrong with the address is what to correct first.
    store_address(settings)
    keys = find_keys(settings)
    keys.ring.derive_early()
    # Both only now, and before the workers are forked: they take longer than the keys, and workers share them.
    from llm_gateway.app import asgi  # noqa: F401, PLC0415
    from llm_gateway.app.operations.schema import prepare_store  # noqa: PLC0415

    await prepare_store(settings, keys, fills=fills)
    return Prepared(admin_key_path=keys.admin.path)


def make_data_dir(path: Path) -> None:
    """Create the folder that everything is written to, accessible to its owner only; raise StartupError."""
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        message = (
            f"DATA_DIR={path} cannot be created: {error.strerror}. Set DATA_DIR to a folder you may write to."
        )
        raise StartupError(message) from None
    if not os.access(path, os.W_OK | os.X_OK):
        message = f"DATA_DIR={path} is not writable. Set DATA_DIR to a folder you may write to."
        raise StartupError(message)
