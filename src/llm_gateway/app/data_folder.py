"""What DATA_DIR holds for databases: adopts the files of older gateways, names what waits for other databases."""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
from pathlib import Path

from loguru import logger

from llm_gateway.infra.database.address import StoreAddress
from llm_gateway.infra.database.catalog.last_good import FILE_NAME, LastGoodFile
from llm_gateway.infra.database.catalog.sealing import SealedSettings, open_pepper
from llm_gateway.infra.database.folders import DatabaseFolders
from llm_gateway.infra.journal.leftovers import move_journal, unshipped_bytes
from llm_gateway.infra.secrets.key_files import KeyRing
from llm_gateway.infra.secrets.vault import Vault
from llm_gateway.infra.startup_error import StartupError

JOURNAL = "journal"


def adopt_older_files(
    data_dir: Path, folder: Path, address: StoreAddress, *, pepper: bytes, ring: KeyRing, vault: Vault
) -> None:
    """Move the journal and the last good file that older gateways left in `data_dir` itself to `folder`, if they fit.

    They are this database's if the last good file holds its `pepper`, which no other database has; where that does
    not open, if the file names this address. Without such a file they go to the first database that is used.
    """
    if not (data_dir / JOURNAL).is_dir() and not (data_dir / FILE_NAME).exists():
        return
    lock = os.open(folder.parent / "adopting.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        # Workers start together; what the first one moves takes a rename.
        fcntl.flock(lock, fcntl.LOCK_EX)
        owner = LastGoodFile(data_dir, address.shown).read_owner()
        if owner is None:
            is_ours = list(DatabaseFolders(data_dir).names()) == [folder]
        else:
            saved = _pepper(vault, ring, owner[1])
            is_ours = saved == pepper if saved is not None else owner[0] == address.shown
        if is_ours:
            _adopt(data_dir, folder)
    except OSError as error:
        logger.error(
            "Cannot move {} to {} ({}): its usage records wait until a start can.",
            *(data_dir / JOURNAL, folder, error.strerror),
        )
    finally:
        os.close(lock)


def _adopt(data_dir: Path, folder: Path) -> None:
    journal = data_dir / JOURNAL
    if journal.is_dir() and not move_journal(journal, folder / JOURNAL):
        logger.warning(
            "A gateway of an older version still uses {}: its usage records are moved at the next start.",
            journal,
        )
        return
    saved = data_dir / FILE_NAME
    if saved.exists():
        if (folder / FILE_NAME).exists():
            saved.unlink()
        else:
            saved.rename(folder / FILE_NAME)
    logger.info("Moved the usage journal in {} to {}, the folder of its database.", data_dir, folder)


def _pepper(vault: Vault, ring: KeyRing, sealed: SealedSettings) -> bytes | None:
    try:
        return open_pepper(vault, sealed, ring)
    except StartupError:
        return None


def machine_name(folder: Path) -> str:
    """Return the name by which a database's backup knows this DATA_DIR; made at first, in the database's `folder`."""
    path = folder / "machine"
    name = secrets.token_hex(16)
    unfinished = path.with_name(f".machine-{name}")
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        unfinished.write_text(name + "\n")
        with contextlib.suppress(FileExistsError):
            # Workers start together: the first name counts, and is never seen in part.
            path.hardlink_to(unfinished)
        unfinished.unlink()
        return path.read_text().strip()
    except OSError as error:
        # Records in the backup are then those of a machine that is gone, and are moved later.
        logger.warning("Cannot write {}: {}", path, error.strerror or type(error).__name__)
        return name


class OtherJournals:
    """The usage records in DATA_DIR that wait until DB_URL names their database again."""

    def __init__(self, data_dir: Path, folder: Path) -> None:
        """`folder` is the one in use."""
        self._data_dir = data_dir
        self._folder = folder

    def waiting(self) -> dict[str, int]:
        """Return how many bytes wait, by database: its host, port and name, or its path, and its id."""
        others = {
            folder: f"{name} (id {folder.name})"
            for folder, name in DatabaseFolders(self._data_dir).names().items()
        }
        if (self._data_dir / JOURNAL).is_dir():
            owner = LastGoodFile(self._data_dir, "").read_owner()
            others[self._data_dir] = "unknown" if owner is None else owner[0]
        others.pop(self._folder, None)
        sizes = {name: unshipped_bytes(folder / JOURNAL) for folder, name in others.items()}
        return {name: size for name, size in sizes.items() if size}

    def report(self) -> None:
        """Log what waits."""
        for name, size in self.waiting().items():
            logger.warning(
                "{} bytes of usage records in {} wait for another database, {}, until DB_URL names it again.",
                *(size, self._data_dir, name),
            )
