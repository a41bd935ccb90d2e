"""Settings of databases, keys and files."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from llm_gateway.core.secret import Secret
from llm_gateway.settings.values import setting


@dataclass(frozen=True, kw_only=True)
class StorageSettings:
    """Where things are stored, and the keys."""

    db_url: Secret | None = setting(
        None,
        description="Database URL, as postgresql://user:pass@host:5432/name. Unset: an SQLite file in DATA_DIR.",
    )
    backup_db_url: Secret | None = setting(
        None,
        description="Second database, as in DB_URL. It takes usage records while the first one does not, and holds"
        " them until they can be moved there.",
    )
    mongo_uri: Secret | None = setting(
        None,
        description="Not used, and named in the log if it is set: DB_URL names the database.",
    )
    db_name: str | None = setting(
        None,
        description="Not used, and named in the log if it is set: DB_URL ends in the name of the database.",
    )
    auto_migrate: bool = setting(True, description="Upgrade the database schema at start.")
    admin_key: Secret | None = setting(
        None,
        description="Key of the admin API. Unset: generated at the first start, in DATA_DIR/admin_key. "
        "Required with PostgreSQL.",
    )
    secret_key: Secret | None = setting(
        None,
        description="Key that encrypts provider secrets at rest; for rotation a comma-separated list, newest "
        "first. Unset: generated in DATA_DIR/secret_key (SQLite), or derived from ADMIN_KEY "
        "(PostgreSQL).",
    )
    redis_url: Secret | None = setting(
        None,
        description="Redis for limits and cached replies that several machines share. Unset: each machine counts "
        "limits on its own, and each worker has its own cache.",
    )
    ops_token: Secret | None = setting(
        None,
        description="Bearer token required for /metrics, /docs, and everything below /health except /health "
        "itself.",
    )
    allow_anonymous: bool = setting(
        False, description="Allow requests to /v1 without a key while the database has no credentials."
    )

    response_ids: Literal["bound", "shared"] = setting(
        "bound",
        description="Ids of stored responses: bound to the credential that made them, or shared by all credentials of"
        " a provider.",
    )

    @property
    def is_postgres(self) -> bool:
        """Whether the database is PostgreSQL, not the embedded SQLite file."""
        return self.db_url is not None and not self.db_url.reveal().startswith("sqlite")
