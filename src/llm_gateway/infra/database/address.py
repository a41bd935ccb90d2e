"""Parses DB_URL, in any of its usual spellings, into an address that the drivers accept."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import parse_qsl, quote, unquote, urlsplit

import msgspec

from llm_gateway.infra.startup_error import StartupError

_POSTGRES_SCHEMES = frozenset(
    {
        "postgres",
        "postgresql",
        "postgresql+asyncpg",
        "postgres+asyncpg",
        "postgresql+psycopg",
        "postgresql+psycopg2",
    }
)
_SQLITE_SCHEMES = frozenset({"sqlite", "sqlite+aiosqlite"})

# Options of libpq's URLs that asyncpg reads itself, or that PostgreSQL takes as they are.
_PASSED_ON = frozenset(
    {
        "application_name", "dbname", "host", "krbsrvname", "gsslib", "options", "passfile", "password", "port",
        "service", "ssl_max_protocol_version", "ssl_min_protocol_version", "sslcert", "sslcrl", "sslkey", "sslmode",
        "sslnegotiation", "sslpassword", "sslrootcert", "target_session_attrs", "user",
    }
)  # fmt: skip
# Options that asyncpg does not know, with the values that can be dropped without a change of behaviour.
_DROPPED = {
    "channel_binding": frozenset({"prefer", "disable"}),
    "gssencmode": frozenset({"prefer", "disable"}),
    "keepalives": None,
    "keepalives_idle": None,
    "keepalives_interval": None,
    "keepalives_count": None,
    "client_encoding": frozenset({"utf8", "utf-8", "auto"}),
    "sslcompression": frozenset({"0"}),
}
_SSL_MODES = frozenset({"disable", "allow", "prefer", "require", "verify-ca", "verify-full"})


class PostgresAddress(msgspec.Struct, frozen=True, kw_only=True):
    """A PostgreSQL database: what asyncpg's `connect` takes. Its repr shows no password."""

    dsn: str
    # "host:port/name", for messages.
    shown: str
    # What tells this database from others, in one spelling and without a password.
    location: str = ""
    connect_timeout: float | None = None
    # 0 for poolers (PgBouncer) that hand each transaction another connection.
    statement_cache_size: int | None = None

    @property
    def is_pooled(self) -> bool:
        """Tell whether a transaction may have another server than the one before: nothing lasts beyond it."""
        return self.statement_cache_size == 0

    def __repr__(self) -> str:
        """Show the location without the password."""
        return f"PostgresAddress({self.shown})"


class SqliteAddress(msgspec.Struct, frozen=True, kw_only=True):
    """An SQLite file."""

    path: Path

    @property
    def shown(self) -> str:
        """Return the file's path, for messages."""
        return str(self.path)

    @property
    def location(self) -> str:
        """Return the one spelling of the file's path."""
        return f"sqlite {self.path.resolve()}"


StoreAddress = PostgresAddress | SqliteAddress


def read_address(url: str) -> StoreAddress:
    """Return the address in DB_URL; raise StartupError, whose message does not repeat the URL, for an invalid one."""
    scheme, separator, _ = url.partition("://")
    scheme = scheme.strip().lower()
    if separator and scheme in _POSTGRES_SCHEMES:
        return _read_postgres(url.strip())
    if separator and scheme in _SQLITE_SCHEMES:
        return _read_sqlite(url.strip())
    raise StartupError(
        "DB_URL must look like postgresql://user:password@host:5432/name or sqlite:///path/to/file.db"
    )


def embedded_address(data_dir: Path) -> SqliteAddress:
    """Return the address of the database that is used when DB_URL is not set."""
    return SqliteAddress(path=data_dir / "llm-gateway.db")


def _read_sqlite(url: str) -> SqliteAddress:
    rest = url.partition("://")[2]
    path, _, query = rest.partition("?")
    if query:
        raise StartupError("DB_URL: options after '?' are not supported for sqlite; leave them out")
    if not path.startswith("/"):
        raise StartupError("DB_URL: write sqlite:///relative/path.db, or sqlite:////absolute/path.db")
    path = path[1:]
    if path in {"", ":memory:"} or path.startswith("file:"):
        raise StartupError(
            "DB_URL: the SQLite database must be a file, because every worker opens it: sqlite:///path.db"
        )
    return SqliteAddress(path=Path(path))


def _read_postgres(url: str) -> PostgresAddress:
    if "#" in url:
        raise StartupError("DB_URL holds a '#': percent-encode it as %23")
    try:
        parts = urlsplit(url)
        options = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
        # A raw "[" and a port that is not a number raise ValueError here.
        _ = (parts.hostname, None if "," in parts.netloc else parts.port)
    except ValueError:
        raise StartupError(
            "DB_URL cannot be read; percent-encode special characters in the user name and the password"
        ) from None
    passed_on: list[tuple[str, str]] = []
    connect_timeout: float | None = None
    statement_cache_size: int | None = None
    for name, value in options:
        if name in {"sslmode", "ssl"}:
            passed_on.append(("sslmode", _ssl_mode(name, value)))
        elif name == "connect_timeout":
            connect_timeout = _number(name, value) or None
        elif name in {"statement_cache_size", "prepared_statement_cache_size"}:
            statement_cache_size = int(_number(name, value))
        elif name in _PASSED_ON:
            passed_on.append((name, value))
        else:
            _check_dropped(name, value)
    query = "&".join(f"{name}={quote(value, safe='')}" for name, value in passed_on)
    # asyncpg ends the password at the first "@". Most tools end it at the last one, so passwords may hold one.
    user, at, host = parts.netloc.rpartition("@")
    dsn = f"postgresql://{user.replace('@', '%40')}{at}{host}{parts.path}" + (f"?{query}" if query else "")
    return PostgresAddress(
        dsn=dsn,
        shown=_shown(parts.netloc, parts.path, dict(passed_on)),
        location=_location(parts.netloc, parts.path, dict(passed_on)),
        connect_timeout=connect_timeout,
        statement_cache_size=statement_cache_size,
    )


def _shown(netloc: str, path: str, options: dict[str, str]) -> str:
    host = netloc.rpartition("@")[2] or options.get("host") or "localhost"
    if options.get("port") and not re.search(r":\d+$", host):
        host += ":" + options["port"]
    return host + (path if len(path) > 1 else "/" + options.get("dbname", ""))


def _location(netloc: str, path: str, options: dict[str, str]) -> str:
    """Return user, hosts, name and options in one spelling: case, default port and percent-encoding do not matter."""
    login, _, hosts = netloc.rpartition("@")
    user = unquote(login.partition(":")[0]) or options.get("user", "")
    hosts = hosts or options.get("host") or "localhost"
    port = options.get("port") or "5432"
    spelled = [
        host if re.search(r":\d+$", host) else f"{host}:{port}" for host in unquote(hosts).lower().split(",")
    ]
    name = unquote(path[1:]) or options.get("dbname") or user
    # Options may name the schema.
    return " ".join(("postgresql", user, ",".join(spelled), name, options.get("options", "")))


def _ssl_mode(name: str, value: str) -> str:
    mode = {"true": "require", "1": "require", "false": "disable", "0": "disable"}.get(value.lower(), value)
    if mode not in _SSL_MODES:
        raise StartupError(f"DB_URL: {name} must be one of {', '.join(sorted(_SSL_MODES))}")
    return mode


def _number(name: str, value: str) -> float:
    if not re.fullmatch(r"\d{1,6}", value):
        raise StartupError(f"DB_URL: {name} must be a whole number")
    return float(value)


def _check_dropped(name: str, value: str) -> None:
    if name not in _DROPPED:
        raise StartupError(
            f"DB_URL: the option {name!r} is not supported; PostgreSQL's own settings go into "
            "options=-c%20name%3Dvalue"
        )
    harmless = _DROPPED[name]
    if harmless is not None and value.lower() not in harmless:
        raise StartupError(
            f"DB_URL: this driver does not support {name}={value}; leave it out, or use "
            + " or ".join(sorted(harmless))
        )
