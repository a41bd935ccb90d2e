"""Tells an operator's problem with the database from a bug: by SQLSTATE, or SQLite's error code, in one sentence."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Iterator

from sqlalchemy.exc import DBAPIError, InterfaceError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from llm_gateway.flow.ports.catalog import StoreUnavailable

_RIGHTS = (
    "Grant the gateway's role all rights on the gateway's tables, and CREATE on their schema for migrations"
)
_SCHEMA = (
    "The schema is not what this gateway needs: run `llm-gateway migrate up`, or restore what was dropped"
)
_FOREIGN_SCHEMA = (
    "The schema holds tables that no migration of this gateway has recorded: restore `alembic_version`, or use an"
    " empty database"
)
_LOCKED = "Another session holds a lock for long: look for it in pg_stat_activity"
_PREPARED = "Behind a pooler such as PgBouncer add statement_cache_size=0 to DB_URL"
_READ_ONLY = "The gateway needs the primary, with writes allowed"

# What to do, by SQLSTATE or by its class of two characters; the longest that fits counts. None: the server's own
# sentence says enough. A state that is not here is a bug of the gateway, or about values, and is not an outage.
_ADVICE: dict[str, str | None] = {
    "08": None,  # the connection
    "0A000": _PREPARED,  # a plan that a change of the schema made invalid
    "25006": _READ_ONLY,
    "25P02": None,  # follows another error in the same transaction
    "25P03": None,  # idle_in_transaction_session_timeout
    "25P04": None,  # transaction_timeout
    "26000": _PREPARED,
    "28": None,  # the user or the password
    "3D000": None,  # the database does not exist
    "3F000": _SCHEMA,
    "40": None,  # a serialization failure or a deadlock
    "42501": _RIGHTS,
    "42P01": _SCHEMA,
    "42703": _SCHEMA,
    "42804": _SCHEMA,  # a column has another type
    "42809": _SCHEMA,  # a view in place of a table
    "42883": _SCHEMA,
    "42P05": _PREPARED,
    "42P06": _FOREIGN_SCHEMA,
    "42P07": _FOREIGN_SCHEMA,
    "42710": _FOREIGN_SCHEMA,
    "42723": _FOREIGN_SCHEMA,
    "53": None,  # no connections, disk or memory left
    "54": None,  # a limit of the server
    "55": None,  # not in a state for this
    "55P03": _LOCKED,
    "57": None,  # shut down, cancelled, timed out
    "58": None,  # the server's disk
    "72": None,
    "F0": None,  # its configuration file
    "HV": None,  # a foreign table
    "P0": None,  # a trigger of the operator's
    "XX": None,  # internal, or corrupted data
}

_SQLITE_ADVICE = {
    "SQLITE_READONLY": "make the file and its folder writable for the gateway's user",
    "SQLITE_PERM": "make the file and its folder writable for the gateway's user",
    "SQLITE_AUTH": "make the file and its folder writable for the gateway's user",
    "SQLITE_CANTOPEN": "check that the file and its folder exist and are accessible to the gateway's user",
    "SQLITE_BUSY": "another process holds the file's lock for long",
    "SQLITE_LOCKED": "another process holds the file's lock for long",
    "SQLITE_FULL": "make room on the disk",
    "SQLITE_CORRUPT": "the file is damaged: restore it from a backup",
    "SQLITE_NOTADB": "the file is damaged, or no SQLite database: restore it from a backup",
}
_MISSING = ("no such table", "no such column", "has no column named")


@contextlib.contextmanager
def naming_outages() -> Iterator[None]:
    """Turn a driver's way of saying "the database cannot be used now" into StoreUnavailable, in one sentence."""
    try:
        yield
    except Exception as error:
        reason = _reason(error)
        if reason is None:
            raise
        raise StoreUnavailable(reason) from error


def _reason(error: BaseException) -> str | None:
    """Return a sentence free of values when `error` is the database's or the operator's, None for any other."""
    if isinstance(error, PoolTimeoutError):
        return _unavailable("all connections are busy")
    if isinstance(error, DBAPIError):
        if error.connection_invalidated or isinstance(error, InterfaceError):
            # Of a connection that was lost on the way, the state tells more than the driver's class.
            state = getattr(error.driver_exception, "sqlstate", None)
            return _refused(error.driver_exception, state) or _unavailable(
                type(error.driver_exception).__name__
            )
        return _reason(error.driver_exception)
    if isinstance(error, asyncio.TimeoutError | OSError):
        return _unavailable(type(error).__name__)
    # Only looked up: a gateway imports the driver of its own database.
    if (asyncpg := sys.modules.get("asyncpg")) is not None:
        if isinstance(error, asyncpg.InterfaceError):
            return _unavailable(_first_line(error))
        if isinstance(error, asyncpg.PostgresError):
            return _refused(error, error.sqlstate)
    return _sqlite_reason(error)


def _refused(error: BaseException, state: str | None) -> str | None:
    """Return what a SQLSTATE means; the server's first line names roles, tables and databases, never a value."""
    if state is None:
        return None
    for known in (state, state[:2]):
        if known in _ADVICE:
            reason, advice = _unavailable(_first_line(error)), _ADVICE[known]
            return reason if advice is None else f"{reason}. {advice}"
    return None


def _sqlite_reason(error: BaseException) -> str | None:
    sqlite3 = sys.modules.get("sqlite3")
    if sqlite3 is None or not isinstance(error, sqlite3.DatabaseError):
        return None
    if isinstance(error, sqlite3.IntegrityError | sqlite3.DataError | sqlite3.ProgrammingError):
        return None
    if not hasattr(error, "sqlite_errorname"):
        # Raised by Python's module, not by SQLite.
        return None
    # Extended codes repeat the one that they belong to: SQLITE_READONLY_DBMOVED.
    name = "_".join(error.sqlite_errorname.split("_")[:2])
    if name == "SQLITE_ERROR":
        # Most often a statement of ours that makes no sense.
        text = str(error)
        if not any(phrase in text for phrase in _MISSING):
            return None
        return f"{_unavailable(f'SQLite: {text}')}. {_SCHEMA}"
    advice = _SQLITE_ADVICE.get(name)
    return _unavailable(f"SQLite: {error}" if advice is None else f"SQLite: {error}; {advice}")


def _unavailable(reason: str) -> str:
    return f"The database is not available ({reason})"


def _first_line(error: BaseException) -> str:
    return str(error).partition("\n")[0]
