"""The folders below DATA_DIR/databases: one for each database that DATA_DIR was used with, named by its id."""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from pathlib import Path

from loguru import logger

from llm_gateway.infra.database.address import StoreAddress
from llm_gateway.infra.startup_error import StartupError

_ID = re.compile(r"[A-Za-z0-9-]{1,64}")
_NAME = "name"


class DatabaseFolders:
    """Finds the folder of a database by its id, and by its address while the database does not answer."""

    def __init__(self, data_dir: Path) -> None:
        self._root = data_dir / "databases"

    def open(self, address: StoreAddress, database_id: str) -> Path:
        """Return the folder of the database that answers at `address`, and remember both; raise StartupError."""
        if not _ID.fullmatch(database_id):
            raise StartupError(
                "The id in the table database_identity must be 1 to 64 letters, digits and hyphens"
            )
        folder = self._root / database_id
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise StartupError(
                f"{folder} cannot be written ({error.strerror or type(error).__name__}): make DATA_DIR writable."
            ) from None
        before = _read_text(folder / _NAME)
        if before not in {None, address.shown}:
            logger.warning(
                "The database at {} has the id of the one at {} that this DATA_DIR was used with before. If it is a"
                " copy that goes on as a database of its own, delete its id, or their usage records mix"
                " (docs/settings.md, Several databases).",
                *(address.shown, before),
            )
        try:
            _write(folder / _NAME, address.shown)
            _write(self._pointer(address), database_id)
        except OSError as error:
            # A full disk: no reason not to serve.
            logger.warning(
                "Cannot note in {} which database it belongs to ({}): a start while the database is down may not"
                " find it.",
                *(folder, error.strerror),
            )
        return folder

    def recall(self, address: StoreAddress) -> str | None:
        """Return the id of the database that answered at `address` last; None if none ever did, in this DATA_DIR."""
        found = _read_text(self._pointer(address))
        return found if found and _ID.fullmatch(found) and (self._root / found).is_dir() else None

    def path(self, database_id: str) -> Path:
        """Return the folder of a known id."""
        return self._root / database_id

    def names(self) -> dict[Path, str]:
        """Return every folder with its database's host, port and name, or path."""
        try:
            folders = sorted(path for path in self._root.iterdir() if path.is_dir())
        except OSError:
            return {}
        return {folder: _read_name(folder) for folder in folders}

    def _pointer(self, address: StoreAddress) -> Path:
        # A hash, because a file's name holds no slashes.
        return self._root / f"at-{hashlib.sha256(address.location.encode()).hexdigest()[:32]}"


def _read_name(folder: Path) -> str:
    return _read_text(folder / _NAME) or f"id {folder.name}"


def _read_text(path: Path) -> str | None:
    try:
        return path.read_text().strip()
    except (OSError, UnicodeDecodeError):
        return None


def _write(path: Path, text: str) -> None:
    """Replace `path` atomically, with mode 0600, unless it holds `text` already."""
    line = text + "\n"
    if _read_text(path) == text:
        return
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    try:
        with os.fdopen(handle, "w") as file:
            file.write(line)
        Path(temporary).replace(path)
    except OSError:
        Path(temporary).unlink(missing_ok=True)
        raise
