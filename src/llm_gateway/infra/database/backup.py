"""Backs up an SQLite database while it is in use, and names the command that backs up a PostgreSQL one."""

from __future__ import annotations

import os
import shlex
import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

from llm_gateway.infra.database.address import PostgresAddress
from llm_gateway.infra.startup_error import StartupError

# Seconds that the copy waits for a writer.
_BUSY_TIMEOUT = 30.0


def back_up_sqlite(path: Path, target: Path) -> None:
    """Write one consistent state of the database at `path` to `target`, a new file with mode 0600.

    Writers go on meanwhile. Raises StartupError, and leaves no file then.
    """
    if not path.is_file():
        raise StartupError(f"There is no database to back up at {path}: check DATA_DIR and DB_URL")
    if target.is_symlink() or target.exists():
        raise StartupError(f"{target} exists already: name a new file")
    try:
        handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}-")
    except OSError as error:
        raise StartupError(f"{target} cannot be written: {error.strerror}") from None
    os.close(handle)
    copy = Path(name)
    try:
        _copy(path, copy)
        # Fails where the name was taken meanwhile.
        os.link(copy, target)
        _sync_folder(target.parent)
    except FileExistsError:
        raise StartupError(f"{target} exists already: name a new file") from None
    except OSError as error:
        raise StartupError(f"{target} cannot be written: {error.strerror}") from None
    except sqlite3.Error as error:
        raise StartupError(f"{path} cannot be copied to {target} (SQLite: {error})") from None
    finally:
        copy.unlink(missing_ok=True)


def _copy(path: Path, copy: Path) -> None:
    # mode=rw: a file that is gone must not be made anew.
    source_url = f"file:{quote(str(path.resolve()))}?mode=rw"
    with (
        closing(sqlite3.connect(source_url, uri=True, timeout=_BUSY_TIMEOUT)) as source,
        closing(sqlite3.connect(copy, isolation_level=None)) as made,
    ):
        source.backup(made)
        # One file that any program can open; the gateway turns to a write-ahead log by itself.
        made.execute("PRAGMA journal_mode=DELETE")
        found = made.execute("PRAGMA quick_check").fetchone()
        if found != ("ok",):
            raise sqlite3.DatabaseError(f"the copy is damaged, and so is the database: {found[0]}")
    with copy.open("rb") as written:
        os.fsync(written.fileno())


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def pg_dump_command(address: PostgresAddress, target: Path) -> str:
    """Return the shell command that backs up the database to `target`; it holds no password."""
    parts = urlsplit(address.dsn)
    login, _, hosts = parts.netloc.rpartition("@")
    user = unquote(login.partition(":")[0])
    shown = f"{quote(user)}@{hosts}" if user else hosts
    url = f"postgresql://{shown}{parts.path}"
    return f"pg_dump --format=custom --file={shlex.quote(str(target))} {shlex.quote(url)}"
