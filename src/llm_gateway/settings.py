"""All settings, read from the environment; only app, cli and server import this module."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict


class Settings(BaseSettings):
    """One field per environment variable; names are not case-sensitive. docs/settings.md lists them."""

    model_config = SettingsConfigDict(
        env_file=".env", env_file_encoding="utf-8", extra="ignore", frozen=True, env_ignore_empty=True
    )

    # Serving
    host: str = Field("127.0.0.1", description="Address to listen on. Use 0.0.0.0 in containers.")
    port: int = Field(18000, ge=0, le=65535, description="Port to listen on; 0 picks a free port.")
    workers: int = Field(1, ge=1, le=128, description="Number of worker processes.")
    data_dir: Path = Field(
        Path("data"),
        description="Folder for all files that the gateway writes: database, journal, keys, logs.",
    )
    debug: bool = Field(
        False, description="Adds log lines, and tracebacks to the log. Responses never contain them."
    )
    log_level: Literal["trace", "debug", "info", "warning", "error", "critical"] = Field(
        "info", description="Lowest level that is logged."
    )
    access_log: Literal["all", "errors", "off"] = Field(
        "all",
        description="Requests that are logged as a JSON line on standard output: all, errors (4xx, 5xx, cut),"
        " off.",
    )
    drain_timeout: float = Field(
        300.0, ge=0, description="Seconds that open requests and streams may take to finish after SIGTERM."
    )
    cors_origins: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="Browser origins that may call the gateway, comma-separated; * allows any."
    )

    # Storage and keys
    db_url: SecretStr | None = Field(
        None,
        description="Database URL, as postgresql://user:pass@host:5432/name. Unset: an SQLite file in DATA_DIR.",
    )
    auto_migrate: bool = Field(True, description="Upgrade the database schema at start.")
    admin_key: SecretStr | None = Field(
        None,
        description="Key of the admin API. Unset: generated at the first start, in DATA_DIR/admin_key. "
        "Required with PostgreSQL.",
    )
    secret_key: SecretStr | None = Field(
        None,
        description="Key that encrypts provider secrets at rest; for rotation a comma-separated list, newest "
        "first. Unset: generated in DATA_DIR/secret_key (SQLite), or derived from ADMIN_KEY "
        "(PostgreSQL).",
    )
    redis_url: SecretStr | None = Field(
        None,
        description="Redis for rate limits and cached replies that several machines share. Unset: each "
        "machine counts rate limits on its own, and each worker has its own cache.",
    )
    ops_token: SecretStr | None = Field(
        None,
        description="Bearer token required for /metrics, /docs, and everything below /health except /health "
        "itself.",
    )
    allow_anonymous: bool = Field(
        False, description="Allow requests to /v1 without a key while the database has no credentials."
    )

    # Requests
    provider_suffix: str | None = Field(
        None, description="Prefix that is removed from model names: with Proxy, Proxy/gpt-4 means gpt-4."
    )
    llm_timeout: float = Field(
        600.0,
        gt=0,
        description="Seconds for a whole unary request; for a stream, for the first content and between chunks.",
    )
    connect_timeout: float = Field(10.0, gt=0, description="Seconds to connect to a provider.")
    max_concurrency: int = Field(
        10_000, ge=1, description="Most requests in flight on this machine; more get 503."
    )
    max_body_bytes: int = Field(
        50 * 1024 * 1024, ge=1, description="Largest request body; larger ones get 413."
    )
    max_body_values: int = Field(
        100_000,
        ge=1,
        description="Most JSON names, strings, objects and arrays in a request body of 256 KiB or more; more "
        "get 400.",
    )
    max_inflight_body_bytes: int = Field(
        512 * 1024 * 1024,
        ge=1,
        description="Most bytes of request bodies that one worker holds at once; more get 503.",
    )
    max_reply_bytes: int = Field(
        64 * 1024 * 1024,
        ge=1,
        description="Largest unary reply, and largest single stream event, from a provider.",
    )
    body_timeout: float = Field(
        60.0, gt=0, description="Seconds for a request body to arrive; slower ones get 408."
    )
    commit_hold: float = Field(
        2.0,
        ge=0,
        description="Seconds that the first events of a stream are held back while they have no content, so "
        "that failover stays possible.",
    )
    limits_fail: Literal["open", "closed"] = Field(
        "open",
        description="Rate limits while Redis does not answer: open applies them per machine, closed rejects "
        "requests.",
    )
    allow_private_upstreams: bool = Field(
        True, description="Allow providers at loopback and private addresses."
    )

    # Retries: defaults for models that do not set their own
    max_retries: int = Field(
        3, ge=0, le=100, description="Retries of a request after each of its providers was tried once."
    )
    initial_backoff: int = Field(1000, ge=0, description="Milliseconds before the first retry.")
    max_backoff: int = Field(30_000, ge=0, description="Most milliseconds before a retry.")
    backoff_factor: float = Field(
        2.0, ge=1, description="Factor by which each wait is longer than the one before."
    )
    jitter: float = Field(
        0.1,
        ge=0,
        le=1,
        description="Random part of each wait, as a fraction in both directions: 0.1 is plus or minus 10 %.",
    )

    upstream_transport: Literal["pool", "aiohttp"] = Field(
        "pool",
        description="HTTP client for providers: pool (fast; requests through a proxy use aiohttp), or aiohttp.",
    )

    # Cache
    cache_enabled: bool = Field(
        True,
        description="Cache the replies of /api/query. For other endpoints a model, a credential or a request "
        "header enables caching.",
    )
    cache_ttl: float = Field(
        300.0,
        gt=0,
        description="Seconds that a reply is cached, unless its model or credential sets another time.",
    )
    cache_max_bytes: int = Field(
        64 * 1024 * 1024,
        ge=0,
        description="Most bytes of cached replies per worker, without Redis. A single reply may take an "
        "eighth of it, also with Redis.",
    )

    # Usage
    journal_max_bytes: int = Field(
        1024 * 1024 * 1024,
        ge=1024 * 1024,
        description="Most bytes of usage records in DATA_DIR that are not yet in the database.",
    )
    tiktoken_cache_dir: Path | None = Field(
        None,
        description="Folder with tiktoken vocabularies, searched before DATA_DIR. The gateway never downloads"
        " any.",
    )

    @field_validator("log_level", mode="before")
    @classmethod
    def _lower(cls, value: object) -> object:
        return value.lower() if isinstance(value, str) else value

    @field_validator("cors_origins", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        return value

    @property
    def is_postgres(self) -> bool:
        """Whether the database is PostgreSQL, not the embedded SQLite file."""
        return self.db_url is not None and not self.db_url.get_secret_value().startswith("sqlite")
