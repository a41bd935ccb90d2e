"""The environment as one frozen value; only app, cli and server read it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict


class Settings(BaseSettings):
    """Every setting, by its environment variable (case does not matter); docs/settings.md explains each."""

    model_config = SettingsConfigDict(
        env_file=".env", env_file_encoding="utf-8", extra="ignore", frozen=True, env_ignore_empty=True
    )

    # Serving
    host: str = Field("127.0.0.1", description="Address to listen on. Containers set 0.0.0.0.")
    port: int = Field(18000, ge=0, le=65535, description="Port to listen on; 0 takes a free one.")
    workers: int = Field(1, ge=1, le=128, description="Worker processes.")
    data_dir: Path = Field(
        Path("data"), description="Folder for everything the gateway writes: database, journal, keys, logs."
    )
    debug: bool = Field(False, description="More log lines, and tracebacks in the log. Never in replies.")
    log_level: Literal["trace", "debug", "info", "warning", "error", "critical"] = Field(
        "info", description="The least level that is logged."
    )
    access_log: Literal["all", "errors", "off"] = Field(
        "all",
        description="Which requests get a JSON line on standard output: all, errors (4xx, 5xx, cut), off.",
    )
    drain_timeout: float = Field(
        300.0, ge=0, description="Seconds that open requests and streams have to finish after SIGTERM."
    )
    cors_origins: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="Browser origins that may call the gateway, comma-separated; * for any."
    )

    # Storage and keys
    db_url: SecretStr | None = Field(
        None,
        description="Database, as postgresql://user:pass@host:5432/name. Unset: an SQLite file in DATA_DIR.",
    )
    auto_migrate: bool = Field(True, description="Bring the database's schema up to date at start.")
    admin_key: SecretStr | None = Field(
        None,
        description="Key of the admin API. Unset: made at first start in DATA_DIR/admin_key "
        "(with PostgreSQL it must be set).",
    )
    secret_key: SecretStr | None = Field(
        None,
        description="Key that seals provider secrets at rest; a comma-separated list while rotating, newest first. "
        "Unset: made in DATA_DIR/secret_key (SQLite) or derived from ADMIN_KEY (PostgreSQL).",
    )
    redis_url: SecretStr | None = Field(
        None,
        description="Redis that shares rate limits and kept replies between machines. "
        "Unset: limits hold per machine, and each worker keeps replies for itself.",
    )
    ops_token: SecretStr | None = Field(
        None, description="Bearer token asked for on /metrics, /docs and all of /health but /health itself."
    )
    allow_anonymous: bool = Field(
        False, description="Let /v1 be called without a key while the database holds no credential at all."
    )

    # Requests
    provider_suffix: str | None = Field(
        None, description="A model-name prefix that is stripped: with Proxy, Proxy/gpt-4 means gpt-4."
    )
    llm_timeout: float = Field(
        600.0,
        gt=0,
        description="Seconds for a whole unary call, and for a stream's first content and each gap.",
    )
    connect_timeout: float = Field(10.0, gt=0, description="Seconds to connect to a provider.")
    max_concurrency: int = Field(
        10_000, ge=1, description="Requests in flight on this machine; beyond it 503."
    )
    max_body_bytes: int = Field(50 * 1024 * 1024, ge=1, description="Largest request body; beyond it 413.")
    max_body_values: int = Field(
        100_000,
        ge=1,
        description="JSON names, texts, objects and arrays in one request body of 256 KiB or more; beyond it 400.",
    )
    max_inflight_body_bytes: int = Field(
        512 * 1024 * 1024, ge=1, description="All request bodies held at once by one worker; beyond it 503."
    )
    max_reply_bytes: int = Field(
        64 * 1024 * 1024,
        ge=1,
        description="Largest unary reply, and largest single stream event, of a provider.",
    )
    body_timeout: float = Field(
        60.0, gt=0, description="Seconds a request body may take to arrive; beyond it 408."
    )
    commit_hold: float = Field(
        2.0,
        ge=0,
        description="Seconds that a stream's first events without content are held back, to keep failover possible.",
    )
    limits_fail: Literal["open", "closed"] = Field(
        "open", description="What a rate limit does while Redis does not answer: hold per machine, or refuse."
    )
    allow_private_upstreams: bool = Field(
        True, description="Let providers live at loopback and private addresses."
    )

    # Retries, unless a model says otherwise
    max_retries: int = Field(
        3, ge=0, le=100, description="Further tries of a request after each of its providers was asked once."
    )
    initial_backoff: int = Field(1000, ge=0, description="Milliseconds before the first further try.")
    max_backoff: int = Field(30_000, ge=0, description="Milliseconds before a further try at most.")
    backoff_factor: float = Field(2.0, ge=1, description="By how much each wait is longer than the last.")
    jitter: float = Field(
        0.1, ge=0, le=1, description="The part of a wait that is random, up and down: 0.1 is a tenth."
    )

    upstream_transport: Literal["pool", "aiohttp"] = Field(
        "pool",
        description="How providers are called: pool (fast; what needs a proxy still goes by aiohttp), or aiohttp.",
    )

    # Cache
    cache_enabled: bool = Field(
        True,
        description="Keep the replies of /api/query. Elsewhere a model, a credential or a request header says so.",
    )
    cache_ttl: float = Field(
        300.0,
        gt=0,
        description="Seconds that a reply is kept, unless its model or credential says otherwise.",
    )
    cache_max_bytes: int = Field(
        64 * 1024 * 1024,
        ge=0,
        description="Replies that one worker keeps, without Redis. "
        "A single one may be an eighth of it, with Redis too.",
    )

    # Usage
    journal_max_bytes: int = Field(
        1024 * 1024 * 1024,
        ge=1024 * 1024,
        description="Disk that unshipped usage facts may take in DATA_DIR.",
    )
    tiktoken_cache_dir: Path | None = Field(
        None,
        description="Folder of tiktoken vocabularies, looked into before DATA_DIR. None is ever downloaded.",
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
        """Tell whether the store is PostgreSQL rather than the embedded SQLite file."""
        return self.db_url is not None and not self.db_url.get_secret_value().startswith("sqlite")
