"""The operator's keys, and the address of the database: what a start finds out first, with few imports."""

from __future__ import annotations

import msgspec

from llm_gateway.core.secret import Secret
from llm_gateway.infra.database.address import StoreAddress, embedded_address, read_address
from llm_gateway.infra.secrets.key_files import (
    AdminKey,
    KeyRing,
    find_admin_key,
    find_key_ring,
    find_viewer_key,
)
from llm_gateway.settings import Settings


class Keys(msgspec.Struct, frozen=True, kw_only=True):
    """The operator's admin key, encryption keys, and the key of those who only read, if there is one."""

    admin: AdminKey
    ring: KeyRing
    viewer: Secret | None = None


def store_address(settings: Settings) -> StoreAddress:
    """Return the address of the database; raise StartupError."""
    if settings.db_url is None:
        return embedded_address(settings.data_dir)
    return read_address(settings.db_url.reveal())


def find_keys(settings: Settings) -> Keys:
    """Return the operator's keys; generate missing ones if the settings allow it. Raises StartupError."""
    admin = find_admin_key(settings.admin_key, settings.data_dir, is_postgres=settings.is_postgres)
    ring = find_key_ring(
        settings.secret_key, admin.secret, settings.data_dir, is_postgres=settings.is_postgres
    )
    viewer = find_viewer_key(settings.viewer_key, admin.secret, ring)
    return Keys(admin=admin, ring=ring, viewer=viewer)
