"""Finds the admin key and the sealing keys: in the settings, else in files below DATA_DIR that it creates."""

from __future__ import annotations

import os
import secrets
import tempfile
from pathlib import Path

import msgspec

from llm_gateway.core.secret import Secret
from llm_gateway.infra.secrets.vault import Vault, derive_early
from llm_gateway.infra.startup_error import StartupError


class AdminKey(msgspec.Struct, frozen=True):
    """The admin API's key, and the file that holds it; `path` is None when the key came from ADMIN_KEY."""

    secret: Secret
    path: Path | None = None
    # This process has just generated the key: the operator has not seen it yet.
    made: bool = False


def find_admin_key(configured: Secret | None, data_dir: Path, *, is_postgres: bool) -> AdminKey:
    """Return ADMIN_KEY, or the key in DATA_DIR/admin_key (generated at the first start); raise StartupError."""
    if configured is not None and configured.reveal().strip():
        return AdminKey(configured)
    if is_postgres:
        raise StartupError(
            "ADMIN_KEY is not set. With PostgreSQL it is required, because every start needs the same key."
        )
    path = data_dir / "admin_key"
    value, made = _read_or_create(path, "ADMIN_KEY", "admin-" + secrets.token_urlsafe(32))
    return AdminKey(Secret(value), path, made)


class KeyRing(msgspec.Struct, frozen=True):
    """The passphrases of the sealing keys, newest first, and where they come from."""

    passphrases: tuple[Secret, ...]
    # The variable or file that holds the newest one, for error messages.
    source: str
    warning: str | None = None

    def derive_early(self) -> None:
        """Begin to derive the keys, while the caller does something else."""
        derive_early([passphrase.reveal() for passphrase in self.passphrases])

    def vault(self) -> Vault:
        """Derive the keys, tens of milliseconds each, or wait for those that are being derived."""
        return Vault([passphrase.reveal() for passphrase in self.passphrases])


def find_key_ring(
    secret_key: Secret | None, admin_key: Secret, data_dir: Path, *, is_postgres: bool
) -> KeyRing:
    """Return the keys in SECRET_KEY, else from a file in DATA_DIR (SQLite) or from ADMIN_KEY (PostgreSQL).

    The key that is used without SECRET_KEY stays in the ring as the oldest, so that secrets which were sealed
    before SECRET_KEY was first set can still be opened. Raises StartupError.
    """
    path = data_dir / "secret_key"
    given = [] if secret_key is None else [part.strip() for part in secret_key.reveal().split(",")]
    if secret_key is not None and not all(given):
        raise StartupError(
            "SECRET_KEY is a comma-separated list of keys, newest first; one of them is empty."
        )
    passphrases = [Secret(part) for part in given]
    if is_postgres:
        passphrases.append(admin_key)
        if not given:
            return KeyRing(
                tuple(passphrases),
                "ADMIN_KEY",
                "SECRET_KEY is not set: provider secrets are sealed with a key derived from ADMIN_KEY. "
                "Set SECRET_KEY, so that ADMIN_KEY can be changed.",
            )
        return KeyRing(tuple(passphrases), "SECRET_KEY")
    if not given or path.exists():
        value, _ = _read_or_create(path, "SECRET_KEY", secrets.token_urlsafe(32))
        passphrases.append(Secret(value))
    return KeyRing(tuple(passphrases), "SECRET_KEY" if given else f"SECRET_KEY (the file {path})")


def find_viewer_key(configured: Secret | None, admin_key: Secret, ring: KeyRing) -> Secret | None:
    """Return VIEWER_KEY, None if it is not set; raise StartupError if whoever has it could do more than read."""
    if configured is None:
        return None
    key = configured.reveal().strip()
    if key == admin_key.reveal().strip():
        raise StartupError(
            "VIEWER_KEY and ADMIN_KEY are the same, so that whoever may only read could change everything. "
            "Set VIEWER_KEY to another value, or unset it."
        )
    if any(key == passphrase.reveal().strip() for passphrase in ring.passphrases):
        raise StartupError(
            "VIEWER_KEY is also in SECRET_KEY, which encrypts the providers' secrets. "
            "Set VIEWER_KEY to another value, or unset it."
        )
    return Secret(key)


def _read_or_create(path: Path, variable: str, new_key: str) -> tuple[str, bool]:
    """Return the key in `path`, and whether this call has created the file (mode 0600) with `new_key`."""
    created = False
    try:
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            created = _create(path, new_key)
        value = path.read_text(encoding="utf-8-sig").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise StartupError(
            f"{variable} is not set, and {path} cannot be read or created ({type(error).__name__}). "
            f"Set {variable}, or make the file accessible."
        ) from error
    if not value:
        raise StartupError(f"{path} is empty. Restore the key, or set {variable}.")
    return value, created


def _create(path: Path, text: str) -> bool:
    """Create `path` with `text` atomically; return False when another process has created it first."""
    # mkstemp gives mode 0600; the link fails when the name exists, so one of several starters wins.
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text + "\n")
            file.flush()
            os.fsync(file.fileno())
        os.link(temporary, path)
    except FileExistsError:
        return False
    finally:
        Path(temporary).unlink()
    return True
